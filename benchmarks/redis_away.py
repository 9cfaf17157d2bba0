# SPDX-License-Identifier: AGPL-3.0-or-later
"""Redis is away for 30 minutes of media time while 20 incidents are recorded a second: all of it arrives later, in order.

The product's own parts: recorder thread, incident book, store, relay thread, HTTP server, and a real Valkey that is killed
and started again on its files. Media time is a clock that is moved by hand, so the half hour takes as long as recording
it takes. While the queue is away and while it catches up, the backlog gauge is compared with the truth, lists are read and
decisions made over HTTP. An independent reader (redis and SQL only, nothing of `events`) then compares stream and journal.
The last line is one JSON object; exit 1 where anything is not as it must be.
"""

import argparse
import hashlib
import json
import sqlite3
import statistics
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import httpx
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
from events.queues.embedded import EmbeddedServer
from events.queues.redis_streams import RedisCaseQueue
from events.reading import AlertReader
from events.relay import PAGE, Relay, RelayState
from events.stores.sql import Store
from events.tokens import TokenBook
from gridwatch.app.bars import progress_bars
from gridwatch.app.recorder import Recorder
from gridwatch.core.camera import CameraStatus
from gridwatch.core.clock import ManualClock
from gridwatch.core.finding import Box, Finding, Stage
from gridwatch.core.zone import Kind

START = datetime(2026, 11, 26, 1, 0, tzinfo=UTC)
LASTS_S = 60  # an incident goes on for so long; its end is a second message
DECIDED_EVERY = 20  # one of so many incidents is decided over HTTP
CAMERAS = (
    20_000  # so that none sees a second thing of a kind within the ten minutes in which it would be the same
)
CHECK_EVERY_S = 10  # of media time: gauge and list
TOLD_TO_S = 0.001  # the age that the API tells is rounded
CATCH_UP_WITHIN_S = 1800.0
KINDS = ((Kind.TRAFFIC, "stopped_vehicle"), (Kind.SMOKE, "smoke"), (Kind.FIRE, "flame"))


@dataclass(slots=True)
class Measured:
    """What was seen while the queue was there, or away."""

    record_ms: list[float] = field(default_factory=list)
    list_ms: list[float] = field(default_factory=list)
    decide_ms: list[float] = field(default_factory=list)
    gauge_checks: int = 0
    gauge_wrong: list[str] = field(default_factory=list)

    def summary(self) -> dict[str, Any]:
        """Return medians and 95th percentiles in milliseconds."""
        timed = {"record": self.record_ms, "list": self.list_ms, "decide": self.decide_ms}
        figures: dict[str, Any] = {"incident_rows": len(self.record_ms)}
        for name, values in timed.items():
            if len(values) > 1:
                figures[f"{name}_median_ms"] = round(statistics.median(values), 2)
                figures[f"{name}_p95_ms"] = round(statistics.quantiles(values, n=20)[-1], 2)
        return figures | {"gauge_checks": self.gauge_checks, "gauge_wrong": len(self.gauge_wrong)}


class NoCameras:
    """The sight of no cameras: the findings of this run are made here."""

    def statuses(self) -> list[CameraStatus]:
        """Return none."""
        return []

    def picture(self, _camera_id: str) -> bytes | None:
        """Return none."""
        return None


class Town:
    """A gridwatch without cameras, and the queue that goes away."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.clock = folder, ManualClock(START)
        self.database = folder / "gridwatch.db"
        self.store = Store.open(f"sqlite:///{self.database}")
        policy = Policy(run_mode="exercise")
        self.book = IncidentBook(
            self.store, self.clock, places={}, grids=Grids.none(), evidence=None, policy=policy
        )
        self.reader = AlertReader(self.store)
        self.server = EmbeddedServer()
        self.url = self.server.start(folder / "queue")
        self.relay = Relay(self.reader, RedisCaseQueue.connect(self.url), self.clock)
        self.recorder = Recorder(time.monotonic)
        self.stop = threading.Event()
        self._thread = threading.Thread(target=self.relay.run, args=(self.stop,), name="relay")
        self.api = ApiServer(create_app(self._services()), "127.0.0.1", 0)

    def _services(self) -> Services:
        return Services(
            alerts=self.reader,
            book=self.book,
            evidence=EvidenceStore(self.folder / "evidence"),
            live=NoCameras(),
            grids=Grids.none(),
            clock=self.clock,
            tokens=TokenBook(self.store, self.clock),
            signer=Signer(bytes(32)),
            registry=CollectorRegistry(),
            ready=list,
            backlog=self.relay.backlog,
            run_mode="exercise",
        )

    def __enter__(self) -> Self:
        """Start everything."""
        self.recorder.start()
        self.api.start()
        self._thread.start()
        self.http = httpx.Client(base_url=self.api.url, timeout=30)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop everything."""
        self.stop.set()
        self._thread.join(60)
        self.recorder.stop()
        self.http.close()
        self.api.stop()
        self.store.close()
        self.server.stop()

    def queue_goes(self) -> None:
        """Kill the server, as a machine that loses power does."""
        process = self.server._process  # noqa: SLF001  a kill is no way to stop one
        assert process is not None
        process.kill()
        process.wait()

    def queue_returns(self) -> None:
        """Start a server on the same files."""
        self.server = EmbeddedServer()
        assert self.server.start(self.folder / "queue") == self.url


class Life:
    """Incidents that begin, go on for a minute and end; some are decided. Media time moves with them."""

    def __init__(self, town: Town, per_s: int) -> None:
        self._town, self._per_s = town, per_s
        self._open: deque[tuple[float, Finding]] = deque()
        self.made = 0
        self.messages: list[float] = []  # media second of every message that was recorded, in order

    def second(self, measured: Measured) -> None:
        """Let one second of media time pass."""
        clock, jobs = self._town.clock, self._town.recorder
        done: list[str | None] = []
        for _ in range(self._per_s):
            clock.advance(1 / self._per_s)
            while self._open and self._open[0][0] <= clock.mono_s():
                self._record(self._open.popleft()[1], Stage.ENDED, measured, done)
            finding = self._finding()
            self._open.append((clock.mono_s() + LASTS_S, finding))
            self._record(finding, Stage.OPENED, measured, done)
            while (
                jobs.waiting
            ):  # media time stands still meanwhile, so that the truth is known to the millisecond
                time.sleep(0)
            if self.made % DECIDED_EVERY == 0 and done[-1] is not None:
                self._decide(done[-1], measured)

    def _finding(self) -> Finding:
        self.made += 1
        kind, subtype = KINDS[self.made % len(KINDS)]
        now = self._town.clock.now()
        return Finding(
            finding_id=f"f{self.made}",
            camera_id=f"{self.made % CAMERAS:020d}",
            kind=kind,
            subtype=subtype,
            zone_id="z1",
            zone_name="桥面",
            stage=Stage.OPENED,
            at=now,
            at_mono_s=self._town.clock.mono_s(),
            began_at=now,
            confidence=0.8,
            boxes=(Box(0.1, 0.2, 0.3, 0.4, kind.value, 0.8),),
            facts={"looks_in_favour": 4, "looks_taken": 5, "number": self.made},
        )

    def _record(self, finding: Finding, stage: Stage, measured: Measured, done: list[str | None]) -> None:
        clock = self._town.clock
        said = Finding(
            **{name: getattr(finding, name) for name in Finding.__dataclass_fields__}
            | {"stage": stage, "at": clock.now(), "at_mono_s": clock.mono_s()}
        )

        def job() -> None:
            began = time.perf_counter()
            alert = self._town.book.record(said, None)
            measured.record_ms.append((time.perf_counter() - began) * 1000)
            done.append(None if alert is None else alert.id)

        self._town.recorder.submit(job)
        self.messages.append(clock.mono_s())

    def _decide(self, incident_id: str, measured: Measured) -> None:
        began = time.perf_counter()
        answer = self._town.http.post(
            f"/api/v1/alerts/{incident_id}/confirm", json={"note": "drill"}, headers={"If-Match": '"1"'}
        )
        measured.decide_ms.append((time.perf_counter() - began) * 1000)
        answer.raise_for_status()
        self.messages.append(self._town.clock.mono_s())


def look(town: Town, measured: Measured) -> dict[str, Any]:
    """Read the list as a console does; return the backlog that the API tells."""
    began = time.perf_counter()
    page = town.http.get("/api/v1/alerts", params={"limit": 50})
    measured.list_ms.append((time.perf_counter() - began) * 1000)
    page.raise_for_status()
    assert len(page.json()["items"]) > 0
    told: dict[str, Any] = town.http.get("/api/v1/stats").json()["backlog"]
    return told


def check_gauge(town: Town, life: Life, sent: int, measured: Measured) -> None:
    """While the queue is away the gauge is exact: everything after `sent` waits, and the oldest has its age."""
    told = look(town, measured)
    count = len(life.messages) - sent
    age_s = town.clock.mono_s() - life.messages[sent]
    measured.gauge_checks += 1
    if told["messages"] != count or abs(told["oldest_s"] - age_s) > TOLD_TO_S:
        measured.gauge_wrong.append(f"told {told}, true {count} messages, {age_s:.3f} s")


def check_moving(town: Town, client: redis.Redis, total: int, measured: Measured) -> int:
    """While the queue catches up the gauge is never below the truth, and above it by one append at most."""
    before = int(client.xlen("gridwatch:cases"))
    told = look(town, measured)["messages"]
    after = int(client.xlen("gridwatch:cases"))
    measured.gauge_checks += 1
    if not total - after <= told <= total - before + PAGE:
        measured.gauge_wrong.append(f"told {told}, true {total - after} to {total - before}")
    return int(told)


def compared(database: Path, url: str) -> dict[str, int]:
    """Compare journal and stream with nothing but SQL and a Redis client."""
    with sqlite3.connect(database) as connection:
        found = connection.execute(
            "SELECT message_id, payload FROM journal WHERE message_id IS NOT NULL ORDER BY seq"
        )
        journal = [
            (name, hashlib.sha256(json.loads(payload)["message"]["data"].encode()).hexdigest())
            for name, payload in found
        ]
    with redis.Redis.from_url(url) as client:
        stream = [
            (fields[b"id"].decode(), hashlib.sha256(fields[b"data"]).hexdigest(), fields)
            for fields in entries(client)
        ]
    ids = [name for name, _, _ in stream]
    hashes = dict(journal)
    known: dict[str, int] = {}
    gaps = 0
    for fields in (fields for _, _, fields in stream):
        incident, revision = fields[b"id"].decode().rsplit(":", 1)
        gaps += int(fields[b"previous"]) != known.get(incident, 0)
        known[incident] = int(revision)
    return {
        "messages": len(journal),
        "incidents": len(known),
        "lost": len(set(hashes) - set(ids)),
        "doubled": len(ids) - len(set(ids)),
        "strange": len(set(ids) - set(hashes)),
        "out_of_order": sum(a != b for a, (b, _) in zip(ids, journal, strict=False)),
        "changed": sum(sha256 != hashes.get(name) for name, sha256, _ in stream),
        "previous_wrong": gaps,
    }


def entries(client: redis.Redis) -> Iterator[dict[bytes, bytes]]:
    """Yield every entry of the stream, in order."""
    lower = "-"
    while page := client.xrange("gridwatch:cases", min=lower, count=1000):
        for _, fields in page:
            yield fields
        lower = "(" + page[-1][0].decode()


def run(town: Town, asked: argparse.Namespace) -> dict[str, Any]:
    """Run the three parts: up, away, catching up; return the figures."""
    life = Life(town, asked.per_s)
    there, away, back = Measured(), Measured(), Measured()
    client = redis.Redis.from_url(town.url)
    with progress_bars() as bars:
        task = bars.add_task("the queue is there", total=asked.before_s + asked.away_s)
        for second in range(asked.before_s):
            life.second(there)
            if second % CHECK_EVERY_S == 0:
                look(town, there)
            bars.advance(task)
        while town.relay.backlog()[0]:
            time.sleep(0.02)
        town.queue_goes()
        sent, made = len(life.messages), life.made
        bars.update(task, description="the queue is away")
        for second in range(asked.away_s):
            life.second(away)
            if second % CHECK_EVERY_S == 0:
                check_gauge(town, life, sent, away)
            bars.advance(task)
    incidents_away, waited = life.made - made, len(life.messages) - sent
    check_gauge(town, life, sent, away)
    away_state = town.relay.state
    town.queue_returns()
    began = time.monotonic()
    for _ in range(asked.after_s):  # it goes on while the backlog leaves
        life.second(back)
    total = len(life.messages)
    while check_moving(town, client, total, back) and time.monotonic() - began < CATCH_UP_WITHIN_S:
        time.sleep(0.05)
    caught_up_s = time.monotonic() - began
    client.close()
    return {
        "media_minutes_away": round(asked.away_s / 60, 1),
        "incidents_away": incidents_away,
        "messages_that_waited": waited,
        "state_while_away": away_state.value,
        "caught_up_s": round(caught_up_s, 1),
        "messages_a_second": round((total - sent) / caught_up_s),
        "recordings_dropped": town.recorder.dropped,
        "there": there.summary(),
        "away": away.summary(),
        "catching_up": back.summary(),
        "wrong": (away.gauge_wrong + back.gauge_wrong)[:5],
        "stream": compared(town.database, town.url),
    }


def held(figures: dict[str, Any]) -> bool:
    """Tell whether everything is as it must be."""
    stream = figures["stream"]
    faults = ("lost", "doubled", "strange", "out_of_order", "changed", "previous_wrong")
    wrong = figures["away"]["gauge_wrong"] + figures["catching_up"]["gauge_wrong"]
    away = figures["state_while_away"] == RelayState.AWAY.value
    return (
        not any(stream[name] for name in faults) and not wrong and not figures["recordings_dropped"] and away
    )


def main() -> int:
    """Run it and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--away-s", type=int, default=1800, help="media seconds without a queue")
    parser.add_argument("--before-s", type=int, default=60, help="media seconds before")
    parser.add_argument("--after-s", type=int, default=20, help="media seconds while it catches up")
    parser.add_argument("--per-s", type=int, default=20, help="incidents a media second")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="redis-away-") as folder, Town(Path(folder)) as town:
        figures = run(town, asked)
    print(json.dumps(figures, ensure_ascii=False))
    return 0 if held(figures) else 1


if __name__ == "__main__":
    sys.exit(main())
