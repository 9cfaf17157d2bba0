# SPDX-License-Identifier: AGPL-3.0-or-later
"""`gridwatch queue` and `gridwatch dead-letters`, over a store in a folder and the embedded queue; and the queue's metrics."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from redis import Redis
from sqlalchemy import update
from typer.testing import CliRunner

from events.errors import MarkConflict
from events.grids import Grids
from events.incidents import IncidentBook
from events.policy import Policy
from events.queues.embedded import EmbeddedServer
from events.queues.port import Mark
from events.queues.redis_streams import RedisCaseQueue
from events.reading import AlertReader
from events.relay import Relay, RelayState
from events.stores.schema import JOURNAL
from events.stores.sql import Store
from gridwatch.app.cli import app
from gridwatch.app.letters_command import list_letters, replay_letters
from gridwatch.app.metrics import QueueCollector
from gridwatch.app.queue_command import adopt_queue, show_queue
from gridwatch.core.clock import ManualClock
from gridwatch.core.errors import InputError
from gridwatch.core.finding import Finding, Stage
from gridwatch.core.zone import Kind

START = datetime(2026, 11, 26, 1, 0, tzinfo=UTC)


class Machine:
    """A state folder with a configuration, and what writes to its store."""

    def __init__(self, folder):
        self.config, state = folder / "gridwatch.yaml", folder / "run"
        self.config.write_text("state: run\n", encoding="utf-8")
        state.mkdir()
        self.clock, self.policy = ManualClock(START), Policy()
        self.store = Store.open(f"sqlite:///{state / 'gridwatch.db'}")
        self.book = self.book_of(self.policy)
        self.server = EmbeddedServer(fsync="everysec")
        self.url = self.server.start(state / "queue")
        self.queue = RedisCaseQueue.connect(self.url)
        self.relay = Relay(AlertReader(self.store), self.queue, self.clock)

    def book_of(self, policy):
        return IncidentBook(
            self.store, self.clock, places={}, grids=Grids.none(), evidence=None, policy=policy
        )

    def rename(self, source_id):
        self.config.write_text(f'state: run\nsource_id: "{source_id}"\n', encoding="utf-8")
        self.policy = Policy(source_id=source_id)
        self.book = self.book_of(self.policy)

    def open_incident(self, camera):
        now = self.clock.now()
        finding = Finding(
            finding_id=camera,
            camera_id=camera,
            kind=Kind.FIRE,
            subtype="flame",
            zone_id="z1",
            zone_name="桥面",
            stage=Stage.OPENED,
            at=now,
            at_mono_s=0.0,
            began_at=now,
            confidence=0.9,
            boxes=(),
            facts={},
        )
        alert = self.book.record(finding, None)
        assert alert is not None
        return alert

    def close(self):
        self.queue.close()
        self.server.stop()
        self.store.close()


@pytest.fixture
def machine(tmp_path):
    made = Machine(tmp_path)
    yield made
    made.close()


def test_a_conflict_is_shown_and_decided_by_a_person(machine, capsys):
    """The mark of a stranger stops the relay; `show` says so, `adopt` lets it go on with what is new, by itself."""
    machine.open_incident("a")
    machine.queue.restore_mark(machine.policy.source, Mark("stranger", 7))
    with pytest.raises(MarkConflict, match="gridwatch queue adopt"):
        machine.relay.step()
    assert show_queue(machine.config) == 1
    shown = capsys.readouterr()
    assert "stranger:7" in shown.out
    assert "gridwatch queue adopt" in shown.err
    adopt_queue(machine.config, "new")
    assert f"was stranger:7 and is {machine.store.epoch}:1: 0 messages" in capsys.readouterr().out
    assert machine.relay.step() == 0
    machine.open_incident("b")
    assert machine.relay.step() == 1
    assert show_queue(machine.config) == 0
    assert f"mark     {machine.store.epoch}:2" in capsys.readouterr().out


def test_what_is_no_mark_is_decided_too(machine, capsys):
    """Whatever somebody wrote there by hand is shown as it stands, and replaced."""
    machine.open_incident("a")
    with Redis.from_url(machine.url) as client:
        client.hset("gridwatch:cases:marks", machine.policy.source, b"by hand \xff")
        with pytest.raises(MarkConflict):
            machine.relay.step()
        assert show_queue(machine.config) == 1
        assert "mark     by hand \\xff\n" in capsys.readouterr().out
        adopt_queue(machine.config, "all")
    assert machine.relay.step() == 1


def renamed(machine):
    """Let the machine have another source from here on: two messages were recorded under the old one, one under the new."""
    old = machine.policy.source
    for camera in "ab":
        machine.open_incident(camera)
    machine.rename("51011700005020000002")
    machine.open_incident("c")
    return old


def test_a_conflict_of_the_source_of_before_is_named_and_decided(machine, capsys):
    """The relay says whose mark it is, `show` lists it, and `adopt --source` decides it; what the new name says is not lost."""
    old = renamed(machine)
    machine.queue.restore_mark(old, Mark("stranger", 7))
    with pytest.raises(MarkConflict, match=f"mark of {old} is .*adopt --source {old}"):
        machine.relay.step()
    assert show_queue(machine.config) == 1
    shown = capsys.readouterr()
    assert [line.split()[1] for line in shown.out.splitlines() if line.startswith("source")] == [
        old,
        machine.policy.source,
    ]
    assert f"adopt --source {old}" in shown.err
    with pytest.raises(InputError, match=f"{machine.policy.source} and this journal agree"):
        adopt_queue(machine.config, "new")
    with pytest.raises(InputError, match=f"'urn:x'; --source is {old} or "):
        adopt_queue(machine.config, "new", "urn:x")
    adopt_queue(machine.config, "new", old)
    assert f"is {machine.store.epoch}:2: 0 messages" in capsys.readouterr().out
    assert machine.relay.step() == 1
    assert [entry.fields["source"] for entry in machine.queue.history("", 9)] == [machine.policy.source]
    assert show_queue(machine.config) == 0
    assert "mark     none" not in capsys.readouterr().out


def test_a_mark_of_a_source_of_the_past_is_in_nobodys_way(machine, capsys):
    """Once the new name's messages are there, what the old name's mark says is shown and stops nothing."""
    old = renamed(machine)
    while machine.relay.step():
        pass
    machine.queue.take_over(old, machine.queue.mark(old), Mark("stranger", 7))
    assert show_queue(machine.config) == 0
    assert "stranger:7\nwaiting  0" in capsys.readouterr().out


@pytest.mark.parametrize(("send", "sent"), [("all", 3), ("1", 2), ("3", 0)])
def test_a_person_says_from_where_to_go_on(machine, send, sent):
    """Everything, or what follows a row."""
    for camera in "abc":
        machine.open_incident(camera)
    machine.queue.restore_mark(machine.policy.source, Mark("stranger", 7))
    adopt_queue(machine.config, send)
    assert machine.relay.step() == sent


def test_nothing_is_adopted_without_a_conflict(machine):
    """Where mark and journal agree there is nothing to decide, and what cannot be read is refused."""
    machine.open_incident("a")
    machine.relay.step()
    with pytest.raises(InputError, match="nothing was changed"):
        adopt_queue(machine.config, "all")
    for send in ("some", "-1", "2"):
        with pytest.raises(InputError, match="0 to 1"):
            adopt_queue(machine.config, send)
    assert machine.queue.mark(machine.policy.source) == Mark(machine.store.epoch, 1)


def test_dead_letters_are_listed_and_replayed(machine, capsys):
    """A row that holds no message is in the list with its reason; a replay tells its incident again."""
    alert = machine.open_incident("a")
    with machine.store.write() as tx:
        tx.connection.execute(update(JOURNAL).values(payload="{}"))
    assert machine.relay.step() == 0
    assert machine.relay.dead_letters() == 1
    list_letters(machine.config)
    assert "its row holds no message" in " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert replay_letters(machine.config, None) == 0
    assert f"{alert.id} is told again by row 2" in capsys.readouterr().out
    assert machine.relay.step() == 1
    list_letters(machine.config)
    assert "no dead letters" in capsys.readouterr().out
    list_letters(machine.config, replayed=True)
    assert "no dead letters" not in capsys.readouterr().out
    with pytest.raises(InputError, match="row 9 is no dead letter"):
        replay_letters(machine.config, 9)


def test_a_replay_that_cannot_be_is_an_exit_code(machine, capsys):
    """What would be refused again is named, and the command says that it failed."""
    machine.open_incident("a")
    machine.config.write_text("state: run\nqueue: {push: {fire: on_confirm}}\n", encoding="utf-8")
    with machine.store.write() as tx:
        tx.connection.execute(update(JOURNAL).values(payload="{}"))
    machine.relay.step()
    assert replay_letters(machine.config, 1) == 1
    assert "confirms" in capsys.readouterr().err


def test_a_folder_without_a_store_is_told_apart(tmp_path):
    """A command on the wrong configuration makes no store."""
    config = tmp_path / "gridwatch.yaml"
    config.write_text("state: run\n", encoding="utf-8")
    for call in (
        list_letters,
        show_queue,
        lambda one: replay_letters(one, None),
        lambda one: adopt_queue(one, "all"),
    ):
        with pytest.raises(InputError, match="no store"):
            call(config)
    assert not (tmp_path / "run").exists()


def test_the_commands_are_there(machine):
    """They are reached by the command line, with their exit codes."""
    shown = CliRunner().invoke(app, ["queue", "show", "-c", str(machine.config)])
    assert (shown.exit_code, "journal" in shown.output) == (0, True)
    listed = CliRunner().invoke(app, ["dead-letters", "list", "-c", str(machine.config)])
    assert (listed.exit_code, listed.output) == (0, "no dead letters\n")


def test_the_metrics_say_how_the_relay_stands(machine):
    """State, counts and dead letters are read from the relay; every name stands in docs/metrics.md."""
    registry = CollectorRegistry()
    registry.register(QueueCollector(machine.relay))
    starting = generate_latest(registry).decode()
    assert 'gridwatch_queue_state{state="starting"} 1.0' in starting
    machine.open_incident("a")
    machine.open_incident("b")
    with machine.store.write() as tx:
        tx.connection.execute(update(JOURNAL).where(JOURNAL.c.seq == 1).values(payload="{}"))
    machine.relay.step()
    machine.relay.state = RelayState.UP
    machine.relay._trimmer.last = machine.queue.trim(1)
    text = generate_latest(registry).decode()
    for line in (
        'gridwatch_queue_state{state="up"} 1.0',
        'gridwatch_queue_state{state="conflict"} 0.0',
        "gridwatch_queue_messages_sent_total 1.0",
        "gridwatch_queue_messages_given_up_total 1.0",
        "gridwatch_dead_letters 1.0",
        "gridwatch_queue_stream_entries 1.0",
        "gridwatch_queue_trim_held 0.0",
    ):
        assert line in text
    documented = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")
    names = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    assert {name for name in names if f"`{name}" not in documented and not name.endswith("_created")} == set()
