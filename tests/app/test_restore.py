# SPDX-License-Identifier: AGPL-3.0-or-later
"""`gridwatch backup` and `gridwatch restore` as they are typed: their answers, exit codes, and the embedded queue."""

import contextlib
import io
import os
import socket
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import redis

from events.alerts import Decision
from events.grids import Grids
from events.incidents import IncidentBook
from events.policy import Policy
from events.queues.embedded import EmbeddedServer
from events.queues.redis_streams import RedisCaseQueue
from events.reading import AlertReader
from events.relay import Relay
from events.stores.sql import Store
from gridwatch.app.cli import main
from gridwatch.core.clock import SystemClock
from gridwatch.core.finding import Finding, Stage
from gridwatch.core.zone import Kind
from tests.postgres import PostgresServer


class Answer(NamedTuple):
    """What a command answered."""

    returncode: int | str | None
    stdout: str
    stderr: str


class House:
    """A machine with an embedded queue: its configuration, and what `gridwatch run` would do there."""

    def __init__(self, folder: Path, server: PostgresServer | None = None) -> None:
        self.folder, self.clock, self._server = folder, SystemClock(), server
        folder.mkdir()
        self.state = folder / "run"
        self.config = folder / "gridwatch.yaml"
        self.url = f"sqlite:///{self.state / 'gridwatch.db'}"
        self._takes_a_new_store()

    def _takes_a_new_store(self) -> None:
        named = ""
        if self._server is not None:
            self.url = self._server.new_database()
            named = f"store: {self.url}\n"
        self.config.write_text(f"state: run\n{named}", encoding="utf-8")

    def runs(self, *incidents: str, confirm: bool = True) -> list[str]:
        """Record incidents, and send what is due; return the ids in the stream."""
        self.state.mkdir(exist_ok=True)
        server = EmbeddedServer(fsync="everysec")
        url = server.start(self.state / "queue")
        queue = RedisCaseQueue.connect(url)
        try:
            with Store.open(self.url) as store:
                book = IncidentBook(
                    store, self.clock, places={}, grids=Grids.none(), evidence=None, policy=Policy()
                )
                for name in incidents:
                    alert = book.record(self._finding(name), None)
                    if alert and confirm:
                        book.decide(alert.id, Decision.CONFIRMED, by="op-1")
                relay = Relay(AlertReader(store), queue, self.clock)
                while relay.step():
                    pass
            with redis.Redis.from_url(url) as client:
                return [fields[b"id"].decode() for _, fields in client.xrange("gridwatch:cases")]
        finally:
            queue.close()
            server.stop()

    def loses_its_store(self) -> None:
        for file in self.state.glob("gridwatch.db*"):
            file.unlink()
        if self._server is not None:
            self._server.drop(self.url)
        self._takes_a_new_store()

    def asked(self, *arguments: str) -> Answer:
        """Type a command in the house's folder."""
        out, err = io.StringIO(), io.StringIO()
        typed = ["gridwatch", *arguments, "-c", str(self.config)]
        mask = os.umask(0o022)  # as most machines have it; the command has its own
        with (
            contextlib.chdir(self.folder),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            pytest.MonkeyPatch.context() as patch,
        ):
            patch.setattr(sys, "argv", typed)
            try:
                with pytest.raises(SystemExit) as ended:
                    main()
            finally:
                os.umask(mask)
        return Answer(ended.value.code, out.getvalue(), err.getvalue())

    def _finding(self, name: str) -> Finding:
        now = self.clock.now()
        return Finding(
            finding_id=name,
            camera_id=name,
            kind=Kind.FIRE,
            subtype="flame",
            zone_id="z",
            stage=Stage.OPENED,
            at=now,
            at_mono_s=0.0,
            began_at=now,
            confidence=0.9,
        )


@pytest.fixture
def house(tmp_path):
    return House(tmp_path / "house")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_a_lost_store_is_restored_and_the_stream_goes_on(request, tmp_path, database):
    """Backed up, gone on, lost, restored by hand as documented: every id once, the later incident is known again."""
    server = request.getfixturevalue("postgresql") if database == "postgresql" else None
    house = House(tmp_path / "house", server)
    house.runs("first")
    assert house.asked("tokens", "add", "op-07", "--role", "operator").returncode == 0
    backed_up = house.asked("backup", "--to", "kept/one.tar")
    assert backed_up.returncode == 0, backed_up.stderr
    assert "1 incidents, 2 rows" in backed_up.stdout
    told = house.runs("second")

    refused = house.asked("restore", "kept/one.tar")
    assert refused.returncode == 2
    assert "not empty" in refused.stderr

    house.loses_its_store()
    restored = house.asked("restore", "kept/one.tar")
    assert restored.returncode == 0, restored.stderr
    assert "2 incidents, 4 rows" in restored.stdout
    assert "1 incidents that the backup did not know" in restored.stdout
    assert "all 1 tokens of the backup were ended" in restored.stderr
    assert "gridwatch tokens add" in restored.stderr
    assert "revoked" in house.asked("tokens", "list").stdout
    after = house.runs("third")
    assert after[: len(told)] == told
    assert len(after) == len(set(after)) == len(told) + 2


@pytest.mark.timeout(300)
def test_wrong_input_is_one_sentence_and_exit_code_2(house, tmp_path):
    """No store, no backup, a place that is taken, a queue that is away: each named, nothing done."""
    nothing = house.asked("backup", "--to", "b")
    assert (nothing.returncode, nothing.stderr.count("\n")) == (2, 1)
    assert "nothing to back up" in nothing.stderr
    house.runs("first")
    assert house.asked("backup", "--to", "b").returncode == 0
    again = house.asked("backup", "--to", "b")
    assert again.returncode == 2
    assert "there already" in again.stderr

    other = House(tmp_path / "other")
    missing = other.asked("restore", "nowhere")
    assert (missing.returncode, missing.stderr.count("\n")) == (2, 1)
    assert "no backup" in missing.stderr
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        other.config.write_text(f"queue: {{url: 'redis://:secret@127.0.0.1:{unused.getsockname()[1]}'}}\n")
    away = other.asked("restore", str(house.folder / "b"))
    assert away.returncode == 2
    assert "--without-queue" in away.stderr
    assert "secret" not in away.stderr
    done = other.asked("restore", str(house.folder / "b"), "--without-queue")
    assert done.returncode == 0
    assert "no token: whoever calls from this machine may do everything" in done.stderr
    made = [file for file in other.state.rglob("*") if file.is_file()]
    assert made
    assert not [file for file in made if file.stat().st_mode & 0o077]


@pytest.mark.timeout(300)
def test_a_damaged_backup_fails_the_check(house, tmp_path):
    """Exit code 1, one sentence, and a store that is still empty."""
    house.runs("first")
    assert house.asked("backup", "--to", "b").returncode == 0
    file = house.folder / "b" / "gridwatch.db"
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    house.loses_its_store()
    refused = house.asked("restore", "b", "--without-queue")
    assert refused.returncode == 1
    assert "nothing was restored" in refused.stderr
    with Store.open(f"sqlite:///{house.state / 'gridwatch.db'}") as store:
        assert AlertReader(store).last_seq() == 0


@pytest.mark.timeout(300)
def test_nothing_is_restored_beside_a_gridwatch_that_runs(house):
    """Who holds the embedded queue of this folder may write to its store."""
    house.runs("first")
    assert house.asked("backup", "--to", "b").returncode == 0
    house.loses_its_store()
    server = EmbeddedServer(fsync="everysec")
    server.start(house.state / "queue")
    try:
        refused = house.asked("restore", "b")
        assert refused.returncode == 2
        assert "stop it first" in refused.stderr
        assert server.alive()
    finally:
        server.stop()
