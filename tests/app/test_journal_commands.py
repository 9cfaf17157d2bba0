# SPDX-License-Identifier: AGPL-3.0-or-later
"""`gridwatch audit verify` and `gridwatch journal export` as they are typed: their answers and exit codes."""

import io
import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime

import pytest

from events.alerts import Decision
from events.grids import Grids
from events.incidents import IncidentBook
from events.policy import Policy
from events.queues.embedded import EmbeddedServer
from events.queues.redis_streams import RedisCaseQueue
from events.reading import AlertReader
from events.relay import Relay
from events.stores.sql import Store
from gridwatch.app import audit_command, journal_command
from gridwatch.app.cli import main
from gridwatch.core.clock import ManualClock
from gridwatch.core.errors import InputError
from gridwatch.core.finding import Finding, Stage
from gridwatch.core.zone import Kind

NOW = datetime(2026, 11, 26, 1, 0, tzinfo=UTC)


class House:
    """A machine on which something was recorded."""

    def __init__(self, folder, url):
        self.folder, self.state, self.url = folder, folder / "run", url
        self.state.mkdir()
        self.config = folder / "gridwatch.yaml"
        named = "" if url.startswith("sqlite") else f"store: {url}\n"
        self.config.write_text(f"state: run\n{named}", encoding="utf-8")

    def record(self, *names, relay_to=None):
        """Record one confirmed incident for each name, and send what is due."""
        clock = ManualClock(NOW)
        with Store.open(self.url) as store:
            book = IncidentBook(store, clock, places={}, grids=Grids.none(), evidence=None, policy=Policy())
            for name in names:
                alert = book.record(found(name, clock), None)
                book.decide(alert.id, Decision.CONFIRMED, by="op-1")
            if relay_to is not None:
                relay = Relay(AlertReader(store), relay_to, clock)
                while relay.step():
                    pass

    def copy(self):
        """Return the file that a case system would have made of what it received."""
        with Store.open(self.url) as store:
            messages = AlertReader(store).messages_after(0, 1000)
        names = ("source", "id", "journalepoch", "journalseq", "journalhash")
        lines = [json.dumps({name: message.fields()[name] for name in names}) for message in messages]
        file = self.folder / "copy.jsonl"
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return file

    def behind_its_back(self, statement):
        with closing(sqlite3.connect(self.state / "gridwatch.db")) as database, database:
            database.execute(statement)


def found(name, clock):
    return Finding(
        finding_id=name,
        camera_id=f"camera-{name}",
        kind=Kind.FIRE,
        subtype="flame",
        zone_id="z",
        stage=Stage.OPENED,
        at=clock.now(),
        at_mono_s=0.0,
        began_at=clock.now(),
        confidence=0.9,
    )


@pytest.fixture
def house(tmp_path):
    made = House(tmp_path, f"sqlite:///{tmp_path / 'run' / 'gridwatch.db'}")
    made.record("a", "b")
    return made


def typed(monkeypatch, *words):
    """Run the command line; return its exit code."""
    monkeypatch.setattr("sys.argv", ["gridwatch", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code or 0


def test_the_export_prints_every_row_in_order(house, monkeypatch, capsys):
    """One JSON line a row, with the message that it is or null; `--after` goes on from a row."""
    house.behind_its_back("UPDATE journal SET message_id = NULL WHERE seq = 3")
    assert typed(monkeypatch, "journal", "export", "-c", house.config) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [list(row) for row in rows] == [["seq", "incident_id", "revision", "message_id"]] * 4
    assert [row["seq"] for row in rows] == [1, 2, 3, 4]
    wanted = [f"{row['incident_id']}:{row['revision']}" for row in rows]
    wanted[2] = None
    assert [row["message_id"] for row in rows] == wanted
    assert typed(monkeypatch, "journal", "export", "-c", house.config, "--after", 3) == 0
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == rows[3:]


def test_the_export_reads_in_pages_and_ends(house, monkeypatch):
    """However many rows there are, each is printed once; what is recorded meanwhile is left."""
    monkeypatch.setattr(journal_command, "PAGE", 3)

    class Growing(io.StringIO):
        def write(self, text):
            house.record(f"new{self.tell()}")
            return super().write(text)

    out = Growing()
    journal_command.export_command(house.config, 0, out)
    assert [json.loads(line)["seq"] for line in out.getvalue().splitlines()] == [1, 2, 3, 4]


def test_a_sound_journal_ends_with_0(house, monkeypatch, capsys):
    """How many rows there are is said, and what a chain alone cannot show."""
    assert typed(monkeypatch, "audit", "verify", "-c", house.config) == 0
    said = capsys.readouterr()
    assert "4 rows" in said.out
    assert "--copy FILE or --queue" in said.out


def test_a_changed_row_ends_with_1(house, monkeypatch, capsys):
    """The row is named on standard error."""
    house.behind_its_back("UPDATE journal SET actor = 'operator:x' WHERE seq = 2")
    assert typed(monkeypatch, "audit", "verify", "-c", house.config) == 1
    assert "row 2 was changed" in capsys.readouterr().err


def test_a_rewritten_journal_is_found_in_a_copy_on_file(house, monkeypatch, capsys, tmp_path):
    """Another journal of the same rows, sound in itself, is not the one whose messages the case system holds."""
    copy = house.copy()
    assert typed(monkeypatch, "audit", "verify", "-c", house.config, "--copy", copy) == 0
    assert "4 messages" in capsys.readouterr().out
    (house.state / "gridwatch.db").unlink()
    for more in ("-wal", "-shm"):
        (house.state / f"gridwatch.db{more}").unlink(missing_ok=True)
    house.record("a", "b")
    assert typed(monkeypatch, "audit", "verify", "-c", house.config, "--copy", copy) == 1
    assert "row 1 was replaced" in capsys.readouterr().err
    epoch = json.loads(copy.read_text().splitlines()[0])["journalepoch"]
    house.behind_its_back(f"UPDATE epochs SET epoch = '{epoch}'")
    house.behind_its_back(f"UPDATE counter SET epoch = '{epoch}'")
    assert typed(monkeypatch, "audit", "verify", "-c", house.config) == 0
    assert typed(monkeypatch, "audit", "verify", "-c", house.config, "--copy", copy) == 1
    assert "row 1 was changed" in capsys.readouterr().err


def test_the_queue_is_the_copy(house, monkeypatch, capsys):
    """With --queue the embedded server is started for it, or used where it runs; other producers' entries are passed over."""
    server = EmbeddedServer(fsync="everysec")
    queue = RedisCaseQueue.connect(server.start(house.state / "queue"))
    try:
        queue._client.xadd("gridwatch:cases", {"source": "urn:field-app", "id": "7", "data": "{}"})
        house.record("c", relay_to=queue)
        assert typed(monkeypatch, "audit", "verify", "-c", house.config, "--queue") == 0
        assert "6 messages" in capsys.readouterr().out
        assert server.alive()
    finally:
        queue.close()
        server.stop()
    house.behind_its_back("UPDATE journal SET row_hash = 'x' WHERE seq = 6")
    assert typed(monkeypatch, "audit", "verify", "-c", house.config, "--queue") == 1
    assert "row 6 was changed" in capsys.readouterr().err


def test_on_postgresql_too(tmp_path, postgresql, monkeypatch, capsys):
    """The commands follow the configured store."""
    house = House(tmp_path, postgresql.new_database())
    house.record("a")
    assert typed(monkeypatch, "audit", "verify", "-c", house.config, "--copy", house.copy()) == 0
    assert "2 rows" in capsys.readouterr().out
    assert typed(monkeypatch, "journal", "export", "-c", house.config) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    postgresql.drop(house.url)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("no json", "line 2: no JSON"),
        ('{"id": "x:1"}', "line 2: it must say source, id, journalepoch, journalseq and journalhash"),
        ("[1]", "line 2: it must say"),
    ],
)
def test_a_copy_that_is_none_is_named_with_its_line(house, monkeypatch, capsys, line, said):
    """A file of something else is wrong input, not a finding."""
    copy = house.copy()
    first, *_ = copy.read_text().splitlines()
    copy.write_text(f"{first}\n{line}\n")
    assert typed(monkeypatch, "audit", "verify", "-c", house.config, "--copy", copy) == 2
    assert said in capsys.readouterr().err


def test_what_is_not_there_is_wrong_input(house, monkeypatch, capsys, tmp_path):
    """A missing copy, a missing store, and two copies at once end with one sentence and 2; no store is made."""
    wanted = ("audit", "verify", "-c", house.config)
    assert typed(monkeypatch, *wanted, "--copy", tmp_path / "nowhere") == 2
    assert typed(monkeypatch, *wanted, "--copy", house.copy(), "--queue") == 2
    bare = tmp_path / "bare.yaml"
    bare.write_text("state: nothing-here\n")
    for command in (("audit", "verify"), ("journal", "export")):
        assert typed(monkeypatch, *command, "-c", bare) == 2
        assert "there is no store" in capsys.readouterr().err
    assert not (tmp_path / "nothing-here").exists()
    with pytest.raises(InputError):
        list(audit_command.copies_in(tmp_path))
