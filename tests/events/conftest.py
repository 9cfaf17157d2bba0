# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the tests of this room share: a real Valkey, stores on both databases, a book with a clock that stands still.

Whatever asks for a room or for `databases` runs twice, on SQLite and on PostgreSQL.
"""

import shutil
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import redis

from events.evidence import EvidenceStore
from events.grids import Grids
from events.incidents import IncidentBook
from events.policy import Policy
from events.queues.embedded import EmbeddedServer
from events.queues.memory import MemoryCaseQueue
from events.queues.redis_streams import RedisCaseQueue
from events.reading import AlertReader
from events.stores.sql import Store
from gridwatch.core.camera import Camera, Location
from gridwatch.core.clock import ManualClock
from gridwatch.core.finding import Box, Finding, Stage
from gridwatch.core.redact import SecretUrl
from gridwatch.core.zone import Kind
from tests.servers import PROGRAMS, program_of

START = datetime(2026, 11, 26, 1, 0, tzinfo=UTC)
SOURCE_ID = "51011700005020000001"
BRIDGE, MARKET = "51011704001320000017", "51011704001320000018"


class Picture:
    """A frame of noise with a person-sized bright patch: what is blurred there can be told apart."""

    def __init__(self, width=1280, height=720, seed=1):
        self.width, self.height = width, height
        self._seed = seed

    def luma(self):
        return self.view(self.width, self.height)[..., 0]

    def view(self, width, height):
        return np.random.default_rng(self._seed).integers(0, 255, (height, width, 3), dtype=np.uint8)


class SqliteFiles:
    """Databases in files; `empty` is a store in which nothing was recorded yet, copied to save the migrations."""

    kind = "sqlite"

    def __init__(self, empty):
        self._empty = empty

    def make(self, folder):
        """Return the URL of a store in which nothing was recorded yet."""
        shutil.copy(self._empty, folder / "gridwatch.db")
        return f"sqlite:///{folder / 'gridwatch.db'}"

    def bare(self, folder):
        """Return the URL of a database without a table."""
        return f"sqlite:///{folder / 'bare.db'}"

    def close(self):
        """Nothing is held."""


class PostgresDatabases:
    """Databases on the session's server, dropped at the end of the test."""

    kind = "postgresql"

    def __init__(self, server, empty):
        self._server, self._empty, self._made = server, empty, []

    def make(self, _folder):
        """Return the URL of a store in which nothing was recorded yet."""
        return self._new(self._empty)

    def bare(self, _folder):
        """Return the URL of a database without a table."""
        return self._new("template1")

    def _new(self, like):
        self._made.append(self._server.new_database(like))
        return self._made[-1]

    def close(self):
        for url in self._made:
            self._server.drop(url)


@dataclass
class Room:
    """A store with everything that writes to it and reads from it; `again()` is the same folder after a restart."""

    folder: Path
    clock: ManualClock
    databases: SqliteFiles | PostgresDatabases
    policy: Policy = field(default_factory=lambda: Policy(source_id=SOURCE_ID))
    with_evidence: bool = False

    def __post_init__(self):
        self.url = self.databases.make(self.folder)
        self.open()

    def open(self):
        self.store = Store.open(self.url)
        self.evidence = EvidenceStore(self.folder / "evidence") if self.with_evidence else None
        self.places = {
            BRIDGE: Camera(
                BRIDGE,
                "环川桥头",
                SecretUrl("rtsp://u:p@h/1"),
                location=Location(120.55, 27.61),
                address_text="环川路1号",
            ),
            MARKET: Camera(MARKET, "市场入口", SecretUrl("rtsp://u:p@h/2"), place="fast_road"),
        }
        self.book = IncidentBook(
            self.store,
            self.clock,
            places=self.places,
            grids=Grids.none(),
            evidence=self.evidence,
            policy=self.policy,
        )
        self.reader = AlertReader(self.store)
        self.book.resume()

    def again(self):
        self.store.close()
        self.open()

    def finding(
        self, stage=Stage.OPENED, of="f1", *, camera=BRIDGE, kind=Kind.FIRE, subtype="flame", **facts
    ):
        now = self.clock.now()
        return Finding(
            finding_id=of,
            camera_id=camera,
            kind=kind,
            subtype=subtype,
            zone_id="z1",
            zone_name="桥面",
            stage=stage,
            at=now,
            at_mono_s=self.clock.mono_s(),
            began_at=now,
            confidence=0.87,
            boxes=(Box(0.1, 0.2, 0.3, 0.4, "fire", 0.87),),
            facts=facts or {"looks_in_favour": 3, "looks_taken": 5},
        )

    def opened(self, of="f1", **kwargs):
        alert = self.book.record(self.finding(Stage.OPENED, of, **kwargs), None)
        assert alert is not None
        return alert

    def says(self, stage, of="f1", **kwargs):
        return self.book.record(self.finding(stage, of, **kwargs), None)

    def kinds(self, incident_id):
        return [row.kind for row in self.reader.timeline(incident_id)]

    def reply(self, incident_id, word, revision, **data):
        data = {"incident_id": incident_id, "case_id": "AJ-1", "case_revision": revision} | data
        return reply_fields(f"cn.gridwatch.case.{word}.v1", incident_id, data)


def reply_fields(kind, incident_id, data, source="urn:case-desk:test"):
    import json

    number = f"{data.get('case_id')}:{data.get('case_revision')}:{data.get('decision', kind)}"
    return {
        "specversion": "1.0",
        "id": number,
        "source": source,
        "type": kind,
        "subject": incident_id,
        "time": "2026-11-26T09:30:00.000+08:00",
        "datacontenttype": "application/json",
        "data": json.dumps(data, ensure_ascii=False),
    }


@pytest.fixture(scope="session")
def empty_database(postgresql):
    """The name of a database on the session's server that is a store in which nothing was recorded yet."""
    url = postgresql.new_database()
    Store.open(url).close()
    return postgresql.name_of(url)


@pytest.fixture(params=["sqlite", "postgresql"])
def databases(request):
    """Where stores are made, on both databases in turn. Parametrize it indirectly for a test of one of them."""
    if request.param == "sqlite":
        made = SqliteFiles(request.getfixturevalue("empty_file"))
    else:
        server = request.getfixturevalue("postgresql")
        made = PostgresDatabases(server, request.getfixturevalue("empty_database"))
    yield made
    made.close()


@pytest.fixture
def empty_store(databases):
    """The same, as rooms that a test makes itself ask for it."""
    return databases


@pytest.fixture
def kit():
    """The words that tests need and that cannot be imported from here."""
    return SimpleNamespace(
        START=START,
        SOURCE_ID=SOURCE_ID,
        BRIDGE=BRIDGE,
        MARKET=MARKET,
        Picture=Picture,
        Room=Room,
        reply_fields=reply_fields,
        MemoryDesk=MemoryDesk,
        RedisDesk=RedisDesk,
        replace=replace,
    )


@pytest.fixture
def clock():
    return ManualClock(START)


@pytest.fixture
def room(tmp_path, clock, databases):
    """A room without evidence."""
    made = Room(tmp_path, clock, databases)
    yield made
    made.store.close()


@pytest.fixture
def evidence_room(tmp_path, clock, databases):
    """A room that keeps stills and clips."""
    made = Room(tmp_path, clock, databases, with_evidence=True)
    yield made
    made.store.close()


@pytest.fixture(scope="session")
def valkey(tmp_path_factory):
    """The URL of a real server, for the whole session."""
    server = EmbeddedServer(fsync="everysec")
    yield server.start(tmp_path_factory.mktemp("valkey"))
    server.stop()


@pytest.fixture
def redis_client(valkey):
    """A client of that server, emptied first."""
    client = redis.Redis.from_url(valkey)
    client.flushall()
    yield client
    client.close()


@pytest.fixture(params=["memory", "redis"])
def desk(request):
    """A queue and the hands of the case system on it; the same tests run on the twin and on the real server."""
    if request.param == "memory":
        return MemoryDesk()
    return RedisDesk(request.getfixturevalue("redis_client"))


class MemoryDesk:
    """The other side of the queue in memory."""

    def __init__(self):
        self.queue = MemoryCaseQueue()

    def entries(self):
        return [dict(entry) for entry in self.queue.entries]

    def own(self):
        return [
            entry["id"] for entry in self.entries() if entry.get("source", "").startswith("urn:gridwatch:")
        ]

    def answer(self, fields):
        return self.queue.add_reply(fields)

    def other_producer_adds(self, fields):
        self.queue.entries.append(fields)

    def lose_tail(self, keep):
        last = self.queue.entries[keep - 1] if keep else None
        self.queue.entries = self.queue.entries[:keep]
        for source, mark in list(self.queue.marks.items()):
            if last is None:
                del self.queue.marks[source]
            else:
                self.queue.marks[source] = replace(mark, seq=int(last["journalseq"]))

    def lose_marks(self):
        self.queue.marks.clear()

    def drop_mark(self, source):
        self.queue.marks.pop(source, None)

    def set_mark(self, source, mark):
        self.queue.marks[source] = mark

    def second_reader(self):
        return self.queue


class RedisDesk:
    """The other side of the queue on a real server."""

    def __init__(self, client):
        self.client = client
        self.queue = RedisCaseQueue(client)

    def entries(self):
        found = self.client.xrange("gridwatch:cases")
        return [{name.decode(): value.decode() for name, value in fields.items()} for _, fields in found]

    def own(self):
        return [
            entry["id"] for entry in self.entries() if entry.get("source", "").startswith("urn:gridwatch:")
        ]

    def answer(self, fields):
        return self.client.xadd("gridwatch:case-replies", fields).decode()

    def other_producer_adds(self, fields):
        self.client.xadd("gridwatch:cases", fields)

    def lose_tail(self, keep):
        found = self.client.xrange("gridwatch:cases")
        for entry_id, _ in found[keep:]:
            self.client.xdel("gridwatch:cases", entry_id)
        for source, mark in self.client.hgetall("gridwatch:cases:marks").items():
            if keep == 0:
                self.client.delete("gridwatch:cases:marks")
            else:
                epoch = mark.decode().rpartition(":")[0]
                seq = found[keep - 1][1][b"journalseq"].decode()
                self.client.hset("gridwatch:cases:marks", source, f"{epoch}:{seq}")

    def lose_marks(self):
        self.client.delete("gridwatch:cases:marks")

    def drop_mark(self, source):
        self.client.hdel("gridwatch:cases:marks", source)

    def set_mark(self, source, mark):
        self.client.hset("gridwatch:cases:marks", source, mark.stored)

    def second_reader(self):
        return RedisCaseQueue(self.client)


@pytest.fixture(scope="session", params=["memory", *PROGRAMS])
def each_server(request, tmp_path_factory):
    """The URL of a server of each kind; None for the twin."""
    if request.param == "memory":
        yield None
        return
    server = EmbeddedServer(fsync="everysec", program=program_of(request.param))
    yield server.start(tmp_path_factory.mktemp("server"))
    server.stop()


@pytest.fixture
def each_desk(each_server):
    """A queue on that server, emptied first, and the hands of the case system on it."""
    if each_server is None:
        yield MemoryDesk()
        return
    with redis.Redis.from_url(each_server) as client:
        client.flushall()
        yield RedisDesk(client)
