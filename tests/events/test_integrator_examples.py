# SPDX-License-Identifier: AGPL-3.0-or-later
"""The two consumers under docs/integrate, run as an integrator runs them: a real queue, real messages, real effects."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from events.alerts import CaseState, Decision
from events.queues.redis_streams import RedisCaseQueue
from events.relay import Relay
from events.replies import ReplyReader
from tests.servers import redis_cli

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "integrate"
pytestmark = pytest.mark.timeout(180)  # each starts programs, several of them
on_sqlite = pytest.mark.parametrize("databases", ["sqlite"], indirect=True)


class PythonConsumer:
    """docs/integrate/consumer.py with a file of its own."""

    group, case_prefix, source = "case-system", "EX-", "urn:case-system:example"

    def __init__(self, folder, url):
        self._folder, self._url = folder, url

    def take_all(self):
        return self._run("work", "--once", "--redis", self._url)

    def say(self, incident, word, *details):
        self._run("say", incident, word, "--note", *details)
        return self.take_all()

    def _run(self, *arguments):
        command = [sys.executable, str(FOLDER / "consumer.py"), "--state", "cases.db", *arguments]
        return run(command, self._folder, dict(os.environ))


class ShellConsumer:
    """docs/integrate/consumer.sh with a folder of its own."""

    group, case_prefix, source = "case-system-sh", "SH-", "urn:case-system:shell"

    def __init__(self, folder, url):
        socket = url.removeprefix("unix://").partition("?")[0]
        self._folder, self._env = (
            folder,
            {"REDIS_ARGS": f"-s {socket}", "REDIS_CLI": redis_cli(), "ONCE": "1"},
        )

    def take_all(self):
        return self._run()

    def say(self, incident, word, *details):
        return self._run("say", incident, word, *details)

    def _run(self, *arguments):
        command = ["bash", str(FOLDER / "consumer.sh"), *arguments]
        return run(command, self._folder, os.environ | self._env)


KILLED_AFTER_ANSWERS = (3, 20)


def run(command, folder, env):
    ended = subprocess.run(
        command, cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout + ended.stderr


@pytest.fixture(params=[PythonConsumer, ShellConsumer], ids=["python", "redis-cli"])
def consumer(request, tmp_path, valkey, redis_client):
    """Each consumer in turn, on an empty queue."""
    return request.param(tmp_path, valkey)


class Gridwatch:
    """This side of the queue: sends what is due, records what was answered."""

    def __init__(self, room, client):
        queue = RedisCaseQueue(client)
        self._relay, self._reader = Relay(room.reader, queue, room.clock), ReplyReader(room.book, queue, 0.01)
        self._client = client

    def send(self):
        while self._relay.step():
            pass

    def take(self):
        while self._reader.step():
            pass
        return self._reader.taken

    def replies(self):
        entries = [fields for _, fields in self._client.xrange("gridwatch:case-replies")]
        return [(fields[b"type"].decode().split(".")[3], json.loads(fields[b"data"])) for fields in entries]


@pytest.fixture
def gridwatch(room, redis_client):
    """The other side."""
    return Gridwatch(room, redis_client)


@on_sqlite
def test_a_confirmed_incident_becomes_a_case_and_its_answers_arrive(consumer, gridwatch, room):
    """Opened is answered with a receipt, confirmed with `accepted`; a step said by hand moves the case here."""
    alert = room.opened()
    gridwatch.send()
    consumer.take_all()
    gridwatch.take()
    assert room.reader.get(alert.id).case is CaseState.REPORTED
    room.book.decide(alert.id, Decision.CONFIRMED, by="op-07")
    gridwatch.send()
    printed = consumer.take_all()
    assert "立案" in printed
    gridwatch.take()
    consumer.say(alert.id, "handled", "现场已清理")
    assert set(gridwatch.take()) == {"recorded"}
    shown = room.reader.get(alert.id)
    assert (shown.case, shown.case_id) == (CaseState.HANDLED, f"{consumer.case_prefix}{alert.id}")
    assert [data["case_revision"] for _, data in gridwatch.replies()] == [1, 2, 3, 4]
    assert gridwatch.replies()[-1][1]["note"] == "现场已清理"


@on_sqlite
def test_a_dismissed_incident_is_voided(consumer, gridwatch, room):
    """The dismissal gets its receipt and `voided`."""
    alert = room.opened()
    room.book.decide(alert.id, Decision.DISMISSED, by="op-07", reason="false_alarm")
    gridwatch.send()
    consumer.take_all()
    gridwatch.take()
    assert room.reader.get(alert.id).case is CaseState.VOIDED
    assert [word for word, _ in gridwatch.replies()] == ["reported", "reported", "voided"]


@on_sqlite
def test_what_comes_again_is_answered_and_acted_on_once(consumer, gridwatch, room, redis_client):
    """A resend is a duplicate, other bytes under a known id a conflict; neither opens a second case."""
    alert = room.opened()
    room.book.decide(alert.id, Decision.CONFIRMED, by="op-07")
    gridwatch.send()
    consumer.take_all()
    (_, opened), (_, confirmed) = redis_client.xrange("gridwatch:cases")
    redis_client.xadd("gridwatch:cases", opened)
    redis_client.xadd("gridwatch:cases", confirmed)
    redis_client.xadd(
        "gridwatch:cases", confirmed | {b"data": confirmed[b"data"].replace(b"actual", b"actuaI")}
    )
    consumer.take_all()
    words = [(word, data.get("outcome")) for word, data in gridwatch.replies()]
    assert words == [
        ("reported", "stored"),
        ("reported", "stored"),
        ("accepted", None),
        ("reported", "duplicate"),
        ("reported", "duplicate"),
        ("reported", "conflict"),
    ]


@on_sqlite
def test_what_others_wrote_and_what_cannot_be_read_hold_up_nothing(consumer, gridwatch, room, redis_client):
    """Foreign and broken entries are passed over and acknowledged; the message behind them is answered."""
    alert = room.opened()
    redis_client.xadd(
        "gridwatch:cases", {"type": "cn.fieldapp.report.v1", "id": "x", "note": "a\n\nb\n", "": "$(false)"}
    )
    redis_client.xadd(
        "gridwatch:cases", {"type": "cn.gridwatch.incident.opened.v1", "id": "../x:1", "data": "{"}
    )
    gridwatch.send()
    assert "无法读取" in consumer.take_all()
    assert [(word, data["incident_id"]) for word, data in gridwatch.replies()] == [("reported", alert.id)]
    assert redis_client.xpending("gridwatch:cases", consumer.group)["pending"] == 0


@on_sqlite
def test_an_exercise_opens_no_case(consumer, gridwatch, room, clock, databases, tmp_path, kit, redis_client):
    """A confirmed exercise gets receipts only."""
    folder = tmp_path / "exercise"
    folder.mkdir()
    policy = kit.replace(room.policy, run_mode="exercise")
    other = kit.Room(folder, clock, databases, policy)
    alert = other.opened()
    other.book.decide(alert.id, Decision.CONFIRMED, by="op-07")
    Gridwatch(other, redis_client).send()
    consumer.take_all()
    assert [word for word, _ in gridwatch.replies()] == ["reported", "reported"]
    other.store.close()


@on_sqlite
def test_an_entry_that_was_read_and_not_finished_is_taken_first(consumer, gridwatch, room, redis_client):
    """What was delivered before a crash and not acknowledged is answered when the consumer is back."""
    room.opened()
    gridwatch.send()
    redis_client.xgroup_create("gridwatch:cases", consumer.group, id="0")
    redis_client.xreadgroup(consumer.group, "consumer-1", {"gridwatch:cases": ">"})
    consumer.take_all()
    assert [word for word, _ in gridwatch.replies()] == ["reported"]
    assert redis_client.xpending("gridwatch:cases", consumer.group)["pending"] == 0


def test_killed_in_the_middle_it_loses_and_doubles_nothing(tmp_path, valkey, redis_client):
    """Killed twice among fifteen incidents: each has one receipt for each message and one case, numbered 1, 2, 3."""
    incidents = [f"0199-{number}" for number in range(15)]
    for incident in incidents:
        for revision, kind, decision in ((1, "opened", "pending"), (2, "confirmed", "confirmed")):
            data = {"incident_id": incident, "revision": revision, "decision": decision, "run_mode": "actual"}
            data |= {"title": "疑似烟雾", "address_text": "环川路1号"}
            entry = {
                "id": f"{incident}:{revision}",
                "source": "urn:gridwatch:1",
                "type": f"cn.gridwatch.incident.{kind}.v1",
                "subject": incident,
                "previous": str(revision - 1),
                "data": json.dumps(data),
            }
            redis_client.xadd("gridwatch:cases", entry)
    command = [sys.executable, str(FOLDER / "consumer.py"), "work", "--redis", valkey]
    for answers in KILLED_AFTER_ANSWERS:
        with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL) as consumer:
            ends = time.monotonic() + 30
            while redis_client.xlen("gridwatch:case-replies") < answers:
                assert time.monotonic() < ends, "it does not answer"
            consumer.kill()
    run([*command[:3], "--once", *command[3:]], tmp_path, dict(os.environ))
    said = {}
    for _, fields in redis_client.xrange("gridwatch:case-replies"):
        assert said.setdefault(fields[b"id"], fields) == fields  # sent again, it is the very same
    words = {incident: [] for incident in incidents}
    for fields in said.values():
        data = json.loads(fields[b"data"])
        words[data["incident_id"]].append((data["case_revision"], fields[b"type"].decode().split(".")[3]))
    for incident, numbered in words.items():
        acted = [word for _, word in sorted(numbered) if word != "reported"]
        assert acted == ["accepted"], incident
        assert [number for number, _ in sorted(numbered)] == list(range(1, len(numbered) + 1))
        assert len(numbered) >= 3
    assert redis_client.xpending("gridwatch:cases", "case-system")["pending"] == 0
