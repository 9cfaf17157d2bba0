# SPDX-License-Identifier: AGPL-3.0-or-later
"""The stream of changes and the one reader behind it: resume, bounds, drops, and a store that goes away."""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
import pytest
from prometheus_client import CollectorRegistry

from api import feed as feed_module
from api import server as server_module
from api.errors import ListenerOverflow, TooManyListeners
from api.feed import JournalFeed
from api.metrics import ApiMetrics
from api.routes import stream as stream_module
from api.server import ApiServer
from events.alerts import AlertFilter, Decision
from events.errors import StoreError
from events.roles import Role
from gridwatch.core.zone import Kind


class Reading:
    """One open stream, read event by event."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines

    def next(self) -> tuple[str, dict, str | None]:
        """Return the next event: name, data, id; a comment is named "comment"."""
        fields: dict[str, str] = {}
        for line in self._lines:
            if line.startswith(":"):
                return "comment", {}, None
            if line:
                name, _, value = line.partition(": ")
                fields[name] = value
            elif "event" in fields:
                return fields["event"], json.loads(fields["data"]), fields.get("id")
        raise EOFError("the stream ended")


@contextmanager
def reading(server, *, after: int | None = None, **headers: str) -> Iterator[Reading]:
    params = {} if after is None else {"after": after}
    with (
        httpx.Client(base_url=server.url, timeout=10, trust_env=False) as http,
        http.stream("GET", "/api/v1/alerts/stream", params=params, headers=headers) as response,
    ):
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        yield Reading(response.iter_lines())


def test_changes_arrive_as_they_happen(server, world) -> None:
    """A listener gets each change with the journal's seq as id, and who made it."""
    with reading(server) as stream:
        assert stream.next() == ("ready", {"seq": 0}, "0")
        alert = world.open(Kind.FIRE, still=False)
        world.book.decide(alert.id, Decision.CONFIRMED, by="op-07")
        name, data, seq = stream.next()
        assert (name, seq, data["alert_id"], data["revision"], data["change"]) == (
            "change",
            "1",
            alert.id,
            1,
            "opened",
        )
        assert data["at"] == "2026-11-26T02:00:01Z"
        name, data, seq = stream.next()
        assert (seq, data["change"], data["actor"], data["revision"]) == (
            "2",
            "confirmed",
            "operator:op-07",
            2,
        )


@pytest.mark.parametrize("how", ["header", "parameter"])
def test_a_listener_resumes_where_it_was(server, world, how: str) -> None:
    """What happened while a listener was away comes first, once each, then what is new."""
    for kind in Kind:
        world.open(kind, still=False)
    _wait_until(lambda: server._app.state.feed._position == 4)
    options = {"Last-Event-ID": "2"} if how == "header" else {"after": 2}
    with reading(server, **options) as stream:
        assert stream.next() == ("ready", {"seq": 2}, "2")
        assert [stream.next()[2] for _ in range(2)] == ["3", "4"]
        world.open(Kind.FIRE, "34020000001320000002", still=False)
        assert stream.next()[2] == "5"


def test_resuming_reads_more_than_one_page(server, world, monkeypatch) -> None:
    """A long absence is read in pages without a gap or a repetition."""
    monkeypatch.setattr(stream_module, "PAGE_ROWS", 3)
    alert = world.open(still=False)
    for number in range(7):
        world.book.attach_clip(alert.id, None if number % 2 else b"clip")
    _wait_until(lambda: server._app.state.feed._position == 8)
    with reading(server, after=0) as stream:
        assert stream.next()[0] == "ready"
        assert [stream.next()[2] for _ in range(8)] == [str(seq) for seq in range(1, 9)]


@pytest.mark.parametrize("seen", [999, 0])
def test_who_missed_too_much_is_told_to_reload(server, world, monkeypatch, seen: int) -> None:
    """A seq of another store, or too far behind, leads to one reload and then to what is new."""
    monkeypatch.setattr(stream_module, "RESUME_ROWS", 1)
    world.open(Kind.FIRE, still=False)
    world.open(Kind.SMOKE, still=False)
    _wait_until(lambda: server._app.state.feed._position == 2)
    with reading(server, after=seen) as stream:
        assert stream.next()[0] == "reload"
        assert stream.next() == ("ready", {"seq": 2}, "2")
        world.open(Kind.CROWD, still=False)
        assert stream.next()[2] == "3"


def _wait_until(condition: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(1000):
        if condition():
            return
        pause.wait(0.02)
    raise TimeoutError("it did not come to that")


def test_a_last_event_id_that_is_no_number_is_a_problem(client) -> None:
    """What this server never gave as an id is refused."""
    for value in ("abc", "-1", "1" * 30):
        response = client.get("/api/v1/alerts/stream", headers={"Last-Event-ID": value})
        assert response.status_code == 400
        assert response.headers["content-type"] == "application/problem+json"


def test_a_quiet_stream_is_kept_alive(server, monkeypatch) -> None:
    """Where nothing happens, comments say that the stream lives."""
    monkeypatch.setattr(stream_module, "KEEP_ALIVE_S", 0.05)
    with reading(server) as stream:
        assert stream.next()[0] == "ready"
        assert stream.next()[0] == "comment"


def test_a_listener_that_leaves_is_forgotten(server, world) -> None:
    """A closed connection frees its place."""
    feed = server._app.state.feed
    with reading(server) as stream:
        stream.next()
        assert len(feed._listeners) == 1
    _wait_until(lambda: not feed._listeners)


def test_stopping_ends_the_streams(app, monkeypatch) -> None:
    """A server that stops lets its listeners go instead of waiting for them."""
    monkeypatch.setattr(server_module, "_GRACE_S", 60)  # before it cuts them off, and
    monkeypatch.setattr(server_module, "_STOP_S", 25.0)  # before it is made to
    server = ApiServer(app, "127.0.0.1", 0)
    server.start()
    with reading(server) as stream:
        stream.next()
        began_s = time.monotonic()
        server.stop()
        assert time.monotonic() - began_s < 20
        with pytest.raises((EOFError, httpx.RemoteProtocolError, httpx.ReadError)):
            stream.next()


def test_too_many_listeners_are_refused(server, monkeypatch) -> None:
    """Listeners are bounded; one more is told to come again."""
    monkeypatch.setattr(feed_module, "MAX_LISTENERS", 1)
    with reading(server) as stream:
        stream.next()
        response = httpx.get(f"{server.url}/api/v1/alerts/stream", trust_env=False)
        assert response.status_code == 503
        assert response.headers["retry-after"]


# The reader itself, stepped by hand.


@pytest.fixture
def feed(world) -> JournalFeed:
    return JournalFeed(world.alerts, ApiMetrics(CollectorRegistry()), queue_rows=3)


def fill(world, count: int) -> None:
    """Let the journal have `count` rows."""
    alert = world.alerts.list(AlertFilter(), None, 1).items or [world.open(still=False)]
    for _ in range(world.alerts.last_seq(), count):
        world.book.attach_clip(alert[0].id, None)


def test_a_slow_listener_is_dropped_and_the_others_are_not(world, feed) -> None:
    """A queue is bounded: whoever does not empty it is told, dropped and counted; the next one still gets all."""

    async def run() -> None:
        feed._step()
        slow, quick = feed.listen(), feed.listen()
        fill(world, 2)
        feed._step()
        assert [row.seq for row in await quick.take(1)] == [1, 2]
        fill(world, 4)
        feed._step()
        assert [row.seq for row in await quick.take(1)] == [3, 4]
        with pytest.raises(ListenerOverflow):
            await slow.take(1)
        assert feed._listeners == {quick}

    asyncio.run(run())
    assert feed._metrics.listeners_dropped._value.get() == 1


def test_one_reader_serves_all_listeners(world, feed, monkeypatch) -> None:
    """The journal is read once, however many listen."""
    reads = []
    original = world.alerts.rows_after
    monkeypatch.setattr(world.alerts, "rows_after", lambda *asked: reads.append(asked) or original(*asked))

    async def run() -> None:
        feed._step()
        listeners = [feed.listen() for _ in range(5)]
        fill(world, 1)
        feed._step()
        assert [len(await listener.take(1)) for listener in listeners] == [1] * 5

    asyncio.run(run())
    assert len(reads) == 1


def test_a_store_that_goes_away_is_survived(world, feed, monkeypatch) -> None:
    """A failed read is counted and tried again; no row is skipped after it."""
    feed._step()
    original = world.alerts.rows_after

    def broken(*_asked):
        raise StoreError("away")

    async def run() -> None:
        listener = feed.listen()
        monkeypatch.setattr(world.alerts, "rows_after", broken)
        fill(world, 2)
        assert not feed._step_safely()
        monkeypatch.setattr(world.alerts, "rows_after", original)
        assert feed._step_safely()
        assert [row.seq for row in await listener.take(1)] == [1, 2]

    asyncio.run(run())
    assert feed._metrics.feed_failures._value.get() == 1


def test_nobody_listens_before_the_journals_end_is_known(feed, monkeypatch) -> None:
    """Without a known position a listener could miss rows, so that none is taken."""

    async def run() -> None:
        with pytest.raises(StoreError):
            feed.listen()
        feed._step()
        monkeypatch.setattr(feed_module, "MAX_LISTENERS", 0)
        with pytest.raises(TooManyListeners):
            feed.listen()

    asyncio.run(run())


def test_a_listener_whose_loop_has_ended_is_dropped(world, feed) -> None:
    """A listener that cannot be woken any more leaves the list at the next row."""

    async def run() -> None:
        feed._step()
        feed.listen()

    asyncio.run(run())
    fill(world, 1)
    feed._step()
    assert feed._listeners == set()


def test_a_closed_feed_lets_go(feed) -> None:
    """After close, waiting listeners get None and nobody new is taken."""

    async def run() -> None:
        feed.start()
        listener = feed.listen()
        waiting = asyncio.create_task(listener.take(5))
        await asyncio.sleep(0)
        await asyncio.to_thread(feed.close)
        assert await waiting is None
        with pytest.raises(StoreError):
            feed.listen()

    asyncio.run(run())


def test_a_stream_ends_with_its_token(server, world) -> None:
    """Once the token was revoked the next change is not told any more, and the stream ends."""
    secret = world.token(Role.VIEWER)
    world.clock.advance(1)
    with reading(server, Authorization=f"Bearer {secret}") as stream:
        assert stream.next()[0] == "ready"
        world.open(Kind.FIRE, still=False)
        assert stream.next()[0] == "change"
        world.tokens.revoke("op-07")
        world.clock.advance(1)
        world.open(Kind.SMOKE, still=False)
        with pytest.raises(EOFError):
            stream.next()
