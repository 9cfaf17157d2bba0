# SPDX-License-Identifier: AGPL-3.0-or-later
"""The processes of gridwatch that a round kills: one that records and decides, a relay, a reply reader.

They are the product's own classes; what stands here watches their doors (store, queue) for the points at which a fault
may hit.
"""

import os
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any

from events.alerts import AlertFilter, Decision
from events.errors import EventsError, StoreError
from events.grids import Grids
from events.incidents import IncidentBook
from events.policy import Policy
from events.queues.redis_streams import RedisCaseQueue
from events.reading import AlertReader
from events.relay import Relay
from events.replies import ReplyReader
from events.stores.sql import Store
from gridwatch.core.clock import SystemClock
from gridwatch.core.finding import Finding, Stage
from gridwatch.core.zone import Kind
from no_loss.faults import Points

CAMERAS, ZONES = 60, 6
ANSWER_TIMEOUT_S, REPLY_WAIT_S, STALE_AFTER_S = 1, 0.1, 0.5
RETRY_S, GIVE_UP_S = 0.02, 60.0


@dataclass(frozen=True, slots=True)
class Places:
    """Where the processes find database and queue, and the case system its own file."""

    database_url: str
    redis_url: str
    desk_file: str


def _queue(places: Places, points: Points, consumer: str = "gridwatch-1") -> Any:
    """Return a queue whose client gives up within the time that a stopped server takes."""
    queue = RedisCaseQueue.connect(f"{places.redis_url}?socket_timeout={ANSWER_TIMEOUT_S}", consumer=consumer)
    return WatchedQueue(queue, points)


class Orders:
    """What the harness tells a process, read on a thread; the process ends with the harness."""

    def __init__(self, teller: Connection, points: Points) -> None:
        self._teller, self._points = teller, points
        self.work: SimpleQueue[tuple[int, str]] = SimpleQueue()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                order = self._teller.recv()
            except (EOFError, OSError):
                os._exit(0)
            if order[0] == "arm":
                self._points.arm(order[1], order[2], kills=order[3])
            elif order[0] == "work":
                self.work.put((order[1], order[2]))


class WatchedStore:
    """A store that passes points after reads, inside its write transactions, and after their commit."""

    def __init__(self, store: Store, points: Points, name: str) -> None:
        self._store, self._points, self._name = store, points, name

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    @contextmanager
    def write(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        """Hold the write transaction of the store itself."""
        with self._store.write(*args, **kwargs) as tx:
            yield tx
            self._points.passing(f"{self._name}.in_transaction")
        self._points.passing(f"{self._name}.committed")

    @contextmanager
    def read(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        """Hold a reading connection of the store itself."""
        with self._store.read(*args, **kwargs) as connection:
            yield connection
        self._points.passing(f"{self._name}.read")


class WatchedQueue:
    """A queue that passes points before and after appends, reads and acknowledgements."""

    def __init__(self, queue: RedisCaseQueue, points: Points) -> None:
        self._queue, self._points = queue, points

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._queue, name)
        if name.startswith("append"):
            return self._around(method, "relay.before_append", "relay.appended")
        if name == "ack":
            return self._around(method, "reply.before_ack", "reply.acked")
        if name in ("read_replies", "claim_stale"):
            return self._around(method, "reply.before_read", "reply.read")
        return method

    def _around(self, method: Any, before: str, after: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            self._points.passing(before)
            result = method(*args, **kwargs)
            if result != []:  # a read that found nothing has done nothing
                self._points.passing(after)
            return result

        return call


def relay(places: Places, teller: Connection) -> None:
    """Be a relay until killed."""
    points = Points(teller)
    Orders(teller, points)
    store: Any = WatchedStore(Store.open(places.database_url), points, "relay")
    runner = Relay(AlertReader(store), _queue(places, points), SystemClock())
    teller.send(("up",))
    runner.run(threading.Event())


def replies(places: Places, teller: Connection) -> None:
    """Be a reply reader until killed. It may come back under another name: what the dead one held is claimed then."""
    points = Points(teller)
    Orders(teller, points)
    store = WatchedStore(Store.open(places.database_url), points, "reply")
    queue = _queue(places, points, f"gridwatch-{os.getpid() % 2}")
    runner = ReplyReader(_book(store), queue, REPLY_WAIT_S, stale_after_s=STALE_AFTER_S)
    teller.send(("up",))
    runner.run(threading.Event())


def writer(places: Places, teller: Connection) -> None:
    """Record findings and decisions as ordered, and tell of each once the book has said that it is recorded."""
    points = Points(teller)
    orders = Orders(teller, points)
    store = _patient(lambda: Store.open(places.database_url))
    book, reader = _book(WatchedStore(store, points, "record")), AlertReader(store)
    _patient(book.resume)
    teller.send(("up",))
    street = Street(book, reader, teller)
    while True:
        number, seed = orders.work.get()
        random_ = random.Random(seed)
        for _ in range(number):
            street.happen(random_)
            teller.send(("worked",))


class Street:
    """What happens before the cameras, and the operator who decides on it."""

    def __init__(self, book: IncidentBook, reader: AlertReader, teller: Connection) -> None:
        self._book, self._reader, self._teller = book, reader, teller
        self._burning: dict[str, Finding] = {}  # bounded by the cameras
        self._begun = 0

    def happen(self, random_: random.Random) -> None:
        """Do one thing: a fire begins, spreads or ends, a camera goes blind, somebody decides."""
        camera = f"camera-{random_.randrange(CAMERAS)}"
        chance = random_.random()
        if chance < 0.3:  # noqa: PLR2004  shares of what happens
            self._decide(random_)
        elif chance < 0.35:  # noqa: PLR2004
            _patient(lambda: self._book.camera_lost(camera, "blind"))
        else:
            self._burn(camera, random_)

    def _burn(self, camera: str, random_: random.Random) -> None:
        now, burning = SystemClock().now(), self._burning.get(camera)
        stage, finding_id = Stage.OPENED, f"{os.getpid()}-{self._begun}"
        if burning is None:
            self._begun += 1
        else:
            stage, finding_id = random_.choice((Stage.UPDATED, Stage.ENDED)), burning.finding_id
        finding = Finding(
            finding_id=finding_id,
            camera_id=camera,
            kind=Kind.FIRE,
            subtype="flame",
            zone_id=f"z{random_.randrange(ZONES)}",
            stage=stage,
            at=now,
            at_mono_s=time.monotonic(),
            began_at=now,
            confidence=0.9,
        )
        alert = _patient(lambda: self._book.record(finding, None))
        if stage is Stage.ENDED:
            del self._burning[camera]
        else:
            self._burning[camera] = finding
        if alert is not None:
            self._teller.send(("recorded", alert.id, alert.revision))

    def _decide(self, random_: random.Random) -> None:
        found = _patient(lambda: self._reader.list(AlertFilter(), None, 20)).items
        if not found:
            return
        alert = random_.choice(found)
        decision = random_.choice((Decision.CONFIRMED, Decision.DISMISSED))
        reason = "false_alarm" if decision is Decision.DISMISSED else "seen again"
        decided = _patient(lambda: self._book.decide(alert.id, decision, by="op-7", reason=reason))
        if decided is not None:
            self._teller.send(("recorded", decided.id, decided.revision))


def _book(store: Any) -> IncidentBook:
    return IncidentBook(store, SystemClock(), places={}, grids=Grids.none(), evidence=None, policy=Policy())


def _patient(do: Any) -> Any:
    """Return what `do` returns, tried again while the store does not answer; None where the rules refuse it."""
    deadline = time.monotonic() + GIVE_UP_S
    while True:
        try:
            return do()
        except StoreError:
            if time.monotonic() > deadline:
                raise
            time.sleep(RETRY_S)
        except EventsError:
            return None
