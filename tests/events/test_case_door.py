# SPDX-License-Identifier: AGPL-3.0-or-later
"""Redis and HTTP are two ways through one door: the same messages, and the same answers with the same effects."""

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
import redis
from prometheus_client import CollectorRegistry

from api.application import create_app
from api.server import ApiServer
from api.services import Services
from api.signing import Signer
from events.evidence import EvidenceStore
from events.grids import Grids
from events.incidents import IncidentBook
from events.policy import Policy
from events.queues.redis_streams import RedisCaseQueue
from events.reading import AlertReader
from events.relay import Relay
from events.replies import ReplyReader
from events.roles import Role
from events.stores.sql import Store
from events.tokens import TokenBook
from gridwatch.core.clock import ManualClock
from gridwatch.core.finding import Finding, Stage
from gridwatch.core.zone import Kind

pytestmark = pytest.mark.timeout(180)

START = datetime(2026, 11, 26, 1, 0, tzinfo=UTC)
SOURCE = "urn:case-desk:test"
KINDS = {"fire": (Kind.FIRE, "flame"), "smoke": (Kind.SMOKE, "smoke"), "crowd": (Kind.CROWD, "count")}


class NoCameras:
    """Nobody looks while this is about messages."""

    def statuses(self):
        return []

    def picture(self, camera_id):
        return None


class House:
    """One gridwatch without cameras, on a folder of its own; its clock stands still."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.clock = folder, ManualClock(START)
        self.store = Store.open(f"sqlite:///{folder / 'gridwatch.db'}")
        self.reader = AlertReader(self.store)
        self.tokens = TokenBook(self.store, self.clock)
        self.book = IncidentBook(
            self.store,
            self.clock,
            places={},
            grids=Grids.none(),
            evidence=None,
            policy=Policy(source_id="51011700005020000001"),
        )

    def opened(self, name: str) -> str:
        kind, subtype = KINDS[name]
        self.clock.advance(1)
        finding = Finding(
            finding_id=name,
            camera_id="cam-1",
            kind=kind,
            subtype=subtype,
            zone_id="z",
            zone_name="桥面",
            stage=Stage.OPENED,
            at=self.clock.now(),
            at_mono_s=self.clock.mono_s(),
            began_at=self.clock.now(),
            confidence=0.9,
            boxes=(),
            facts={"looks_in_favour": 3},
        )
        alert = self.book.record(finding, None)
        assert alert is not None
        return alert.id

    def services(self) -> Services:
        return Services(
            alerts=self.reader,
            book=self.book,
            evidence=EvidenceStore(self.folder / "evidence"),
            live=NoCameras(),
            grids=Grids.none(),
            clock=self.clock,
            tokens=self.tokens,
            signer=Signer(bytes(32)),
            registry=CollectorRegistry(),
            ready=list,
            backlog=lambda: (0, 0.0),
            run_mode="test",
        )


@contextmanager
def by_redis(house: House, client: redis.Redis) -> Iterator["Way"]:
    """The queue: answers are added to its stream and taken by the reply reader, messages are sent by the relay."""
    queue = RedisCaseQueue(client)
    reader = ReplyReader(house.book, queue, 0.01)

    def answer(fields: Mapping[str, str]) -> str:
        before = dict(reader.taken)
        client.xadd("gridwatch:case-replies", dict(fields))
        reader.step()
        (outcome,) = [word for word, count in reader.taken.items() if count != before.get(word, 0)]
        return outcome

    def messages() -> list[dict[str, str]]:
        relay = Relay(house.reader, queue, house.clock)
        while relay.step():
            pass
        found = client.xrange("gridwatch:cases")
        return [{name.decode(): value.decode() for name, value in fields.items()} for _, fields in found]

    yield Way(answer, messages)


@contextmanager
def by_http(house: House, _client: redis.Redis) -> Iterator["Way"]:
    """The door: a token, a page of messages after the other, and answers posted."""
    secret = house.tokens.add("desk", Role.INTEGRATOR, timedelta(days=1))[1]
    server = ApiServer(create_app(house.services(), console=False), "127.0.0.1", 0)
    server.start()
    http = httpx.Client(
        base_url=f"{server.url}/api/v1",
        headers={"Authorization": f"Bearer {secret}"},
        timeout=30,
        trust_env=False,
    )

    def answer(fields: Mapping[str, str]) -> str:
        posted = http.post("/case-replies", json=dict(fields)).raise_for_status().json()
        return posted["items"][0]["outcome"]

    def messages() -> list[dict[str, str]]:
        asked: dict[str, object] = {"after": 0, "limit": 2}
        found: list[dict[str, str]] = []
        while True:
            page = http.get("/case-messages", params=asked).raise_for_status().json()
            if not page["items"]:
                return found
            found += page["items"]
            asked |= {"after": page["next"], "epoch": page["epoch"]}

    yield Way(answer, messages)
    http.close()
    server.stop()


@dataclass(frozen=True)
class Way:
    """One way through the door."""

    answer: Callable[[Mapping[str, str]], str]
    messages: Callable[[], list[dict[str, str]]]


WAYS = {"redis": by_redis, "http": by_http}


@pytest.fixture
def twins(tmp_path, empty_store_file) -> Iterator[dict[str, House]]:
    """Two houses with the same past, to the last hash, as far as the same three incidents."""
    first = tmp_path / "redis"
    first.mkdir()
    shutil.copy(empty_store_file, first / "gridwatch.db")
    house = House(first)
    for name in KINDS:
        house.opened(name)
    house.store.close()
    shutil.copytree(first, tmp_path / "http")
    houses = {way: House(tmp_path / way) for way in WAYS}
    for one in houses.values():
        one.clock.advance(100)
    yield houses
    for one in houses.values():
        one.store.close()


@pytest.fixture(scope="session")
def empty_store_file(tmp_path_factory) -> Path:
    """A store in which nothing was recorded yet, copied to save the migrations."""
    file = tmp_path_factory.mktemp("door") / "gridwatch.db"
    Store.open(f"sqlite:///{file}").close()
    return file


def said(kit, incident_id: str, word: str, revision: int | None, **data: object) -> dict[str, str]:
    body = {"incident_id": incident_id, "case_id": "AJ-1", "case_revision": revision} | data
    kind = f"cn.gridwatch.case.{word}.v1"
    return kit.reply_fields(kind, incident_id, body, SOURCE) | {"id": f"{word}-{revision}-{len(str(data))}"}


def decided(kit, incident_id: str, decision: str, **data: object) -> dict[str, str]:
    body = {"incident_id": incident_id, "decision": decision} | data
    return kit.reply_fields("cn.gridwatch.decision.made.v1", incident_id, body, SOURCE) | {"id": decision}


def a_case(kit, fire: str, smoke: str, crowd: str) -> list[dict[str, str]]:
    """Return all that may come: the whole way of a case, side ways, repeats, strangers, rubbish."""
    unit = {"code": "U1", "name": "城南消防站"}
    way = [
        said(kit, fire, "reported", 1, outcome="stored"),
        said(kit, fire, "accepted", 2),
        said(kit, fire, "dispatched", 3, unit=unit, role="lead"),
        said(kit, fire, "dispatched", 4, unit={"code": "U2", "name": "街道办"}, role="assist"),
        said(kit, fire, "signed", 5, unit=unit, role="lead"),
        said(kit, fire, "handled", 6, note="已扑灭"),
        said(kit, fire, "returned", 7, reason="现场不符"),
        said(kit, fire, "closed", 8),
        said(kit, fire, "reopened", 9),
    ]
    odd = [
        way[1],  # again
        said(kit, fire, "accepted", 2, note="anders"),  # the same revision with another content
        said(kit, fire, "signed", 4),  # late
        said(kit, "0199-nobody", "accepted", 1, case_id="AJ-9"),
        said(kit, fire, "teleported", 10),
        {"rubbish": "1"},
        said(kit, fire, "accepted", 11) | {"data": "{"},
        said(kit, fire, "accepted", 12) | {"data": '{"case_revision": 1e999}'},
        said(kit, crowd, "accepted", 1, case_id="\ud800") | {"data": '{"case_id":"\\ud800\\u0000"}'},
    ]
    people = [
        decided(kit, smoke, "confirmed", by="W-12"),
        decided(
            kit, smoke, "dismissed", reason="误报", note="蒸汽", by="W-12", at="2027-01-01T00:00:00+08:00"
        ),
        decided(kit, crowd, "dismissed"),
        said(kit, smoke, "reported", 1, outcome="merged", case_id="AJ-2"),
        said(kit, smoke, "reported", 2, outcome="conflict", case_id="AJ-2"),
        said(kit, smoke, "rejected", 3, case_id="AJ-2", reason="重复"),
    ]
    return [*way, *odd, *people]


def test_the_same_answers_leave_the_same_rows(twins, redis_client, kit):
    """What became of each answer, every row with its hash, and every incident are alike, whichever way they came."""
    outcomes: dict[str, list[str]] = {}
    for name, open_way in WAYS.items():
        house = twins[name]
        ids = [row.incident_id for row in house.reader.rows_after(0, 9) if row.kind == "opened"]
        with open_way(house, redis_client) as way:
            outcomes[name] = []
            for fields in a_case(kit, *ids):
                house.clock.advance(1)
                outcomes[name].append(way.answer(fields))
    assert outcomes["http"] == outcomes["redis"]
    assert set(outcomes["http"]) == {"recorded", "duplicate", "illegal", "orphan"}
    by_queue, by_door = (twins[name].reader.rows_after(0, 999) for name in ("redis", "http"))
    assert [row.row_hash for row in by_door] == [row.row_hash for row in by_queue]
    assert by_door == by_queue
    for row in by_queue:
        if row.kind == "opened":
            ways = [twins[name].reader.get(row.incident_id) for name in WAYS]
            assert ways[0] == ways[1]


def test_rubbish_that_is_posted_again_is_kept_once(twins, redis_client):
    """On the queue every entry has an id of its own; what is posted has none, so that the same content is a resend."""
    house = twins["http"]
    with by_http(house, redis_client) as door:
        assert [door.answer({"rubbish": text}) for text in ("1", "1", "2")] == [
            "orphan",
            "duplicate",
            "orphan",
        ]


@pytest.mark.parametrize("name", WAYS)
def test_an_answer_that_comes_by_both_ways_counts_once(twins, redis_client, kit, name):
    """A case system that changes its way, or uses both, doubles nothing."""
    house = twins["redis"]
    fire = house.reader.rows_after(0, 1)[0].incident_id
    fields = said(kit, fire, "accepted", 1)
    other = next(way for way in WAYS if way != name)
    with WAYS[name](house, redis_client) as first:
        assert first.answer(fields) == "recorded"
    with WAYS[other](house, redis_client) as second:
        assert second.answer(fields) == "duplicate"


def test_the_same_messages_come_by_both_ways(twins, redis_client, kit):
    """Field by field and in the same order, decisions included, and answers are never among them."""
    house = twins["redis"]
    fire, smoke, _ = (row.incident_id for row in house.reader.rows_after(0, 3))
    with by_redis(house, redis_client) as queue, by_http(house, redis_client) as door:
        queue.answer(said(kit, fire, "reported", 1, outcome="stored"))
        house.book.decide(fire, "confirmed", by="op-07")
        door.answer(said(kit, fire, "accepted", 2))
        house.book.decide(smoke, "dismissed", by="op-07", reason="drill")
        told = queue.messages()
        assert door.messages() == told
    assert [message["type"].rsplit(".", 2)[1] for message in told] == [
        "opened",
        "opened",
        "opened",
        "confirmed",
        "dismissed",
    ]
    assert all(message["datacontenttype"] == "application/json" for message in told)
