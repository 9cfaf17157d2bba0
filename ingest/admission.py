# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who may connect when: manners towards cameras, recorders and the network between. One object serves all feeds.

Three bounds: connections that are being opened at one host at once, openings begun in a second over all hosts, and
sessions that a recorder allows at all. Whoever has to wait is served in the order in which it came. Where cameras
outnumber a recorder's sessions they take turns: the one that has held its session longest gives it up once it had it
for a while and another waits. A stream that nobody looks at, read for evidence alone, takes no session from one that is
looked at: it waits behind all of those, asks none of them for theirs, and gives its own up at once where one waits.
"""

import random
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from gridwatch.core.camera import Camera
from gridwatch.core.clock import Clock

_POLL_S = 1.0


@dataclass(frozen=True, slots=True)
class AdmissionLimits:
    """The bounds.

    Attributes:
        per_host: connections that are being opened at one host at the same time.
        per_s: connections that are begun in a second, to all hosts together.
        sessions: how many a recorder allows, by `Way.through`; any number where nothing is said.
        turn_s: a session may be held at least so long before it has to be given to a camera that waits.
    """

    per_host: int = 8
    per_s: float = 20.0
    sessions: Mapping[str, int] = field(default_factory=dict)
    turn_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Way:
    """How a stream is reached: the host that is connected to, and the recorder that bounds its sessions.

    `yields`: it is not looked at, and its session goes to any stream that is.
    """

    host: str
    through: str
    yields: bool = False

    @classmethod
    def to(cls, camera: Camera) -> "Way":
        """Return the way to the stream that is looked at."""
        return cls(camera.looked_at.host, camera.reached_through)


class Pace:
    """Spreads what would begin together: at most so many in a second, each a little off its beat. Pure."""

    def __init__(self, per_s: float, rng: random.Random) -> None:
        self._gap_s, self._rng = 1.0 / per_s, rng
        self._free_mono_s = float("-inf")

    def wait_s(self, now_mono_s: float) -> float:
        """Take the next free moment; return how far away it is, seconds."""
        at = max(now_mono_s, self._free_mono_s)
        self._free_mono_s = at + self._gap_s
        return at - now_mono_s + self._rng.random() * self._gap_s


class Place:
    """A place that is waited for and then held.

    Attributes:
        yields: it goes to whoever does not yield.
        asked_back: somebody waits for one of these places, and this one has been held longest.
        at_once: it is asked back by one to which it yields, who is not to be kept waiting.
    """

    __slots__ = ("_granted", "asked_back", "at_once", "yields")

    def __init__(self, *, yields: bool = False) -> None:
        self._granted = threading.Event()
        self.yields = yields
        self.asked_back = self.at_once = False

    @property
    def granted(self) -> bool:
        """Whether it may be used."""
        return self._granted.is_set()

    def grant(self) -> None:
        """Let it be used."""
        self._granted.set()

    def wait(self, stop: threading.Event) -> bool:
        """Wait for it; return whether it was had before `stop` was set (which is seen within a second)."""
        while not self._granted.wait(_POLL_S):
            if stop.is_set():
                return False
        return not stop.is_set()


class _Line:
    """Places, who holds them and who waits for one: first come, first served. Used under its owner's lock.

    Those that yield wait apart, behind all others.
    """

    __slots__ = ("behind", "holders", "places", "waiting")

    def __init__(self, places: int) -> None:
        self.places = places
        self.holders: dict[Place, None] = {}  # in the order in which they got theirs
        self.waiting: deque[Place] = deque()
        self.behind: deque[Place] = deque()

    def join(self, place: Place) -> None:
        self._queue_of(place).append(place)
        self._serve()

    def leave(self, place: Place) -> None:
        if place in self.holders:
            del self.holders[place]
        else:
            self._queue_of(place).remove(place)
        self._serve()

    def _serve(self) -> None:
        while self.waiting and len(self.holders) < self.places:
            place = self.waiting.popleft()
            self._give(place)
        while self.behind and len(self.holders) < self.places:
            self._give(self.behind.popleft())
        self._ask_back()

    def _give(self, place: Place) -> None:
        self.holders[place] = None
        place.grant()

    def _ask_back(self) -> None:
        yielding = [one for one in self.holders if one.yields]
        taken = yielding[: len(self.waiting)]
        for one in taken:
            one.asked_back = one.at_once = True
        _ask([one for one in self.holders if not one.yields], len(self.waiting) - len(taken))
        _ask(yielding, len(taken) + len(self.behind))

    def _queue_of(self, place: Place) -> deque[Place]:
        return self.behind if place.yields else self.waiting


def _ask(holders: list[Place], places: int) -> None:
    """Ask for so many places in all, of those that are held longest."""
    wanting = places - sum(one.asked_back for one in holders)
    for one in [one for one in holders if not one.asked_back][: max(0, wanting)]:
        one.asked_back = True


class Admission:
    """The bounds of one process. Safe for several threads; bounded by the hosts that somebody is connecting to."""

    def __init__(self, clock: Clock, rng: random.Random, limits: AdmissionLimits | None = None) -> None:
        self._clock, self.limits = clock, limits or AdmissionLimits()
        self._pace = Pace(self.limits.per_s, rng)
        self._lock = threading.Lock()
        self._hosts: dict[str, _Line] = {}
        self._recorders: dict[str, _Line] = {}

    @property
    def busy(self) -> int:
        """How many hosts and recorders are remembered: those at which somebody has or wants a place."""
        return len(self._hosts) + len(self._recorders)

    @contextmanager
    def session(self, way: Way) -> Iterator[Place]:
        """Stand in line for a session of `way.through`, and hold it until the context ends.

        Wait for it with `Place.wait`. Where it is `asked_back`, end the context once it was held for `turn_s`, or at once
        if it says so.
        """
        places = self.limits.sessions.get(way.through)
        if places is None:
            place = Place()
            place.grant()
            yield place
        else:
            with self._standing(self._recorders, way.through, places, yields=way.yields) as place:
                yield place

    @contextmanager
    def opening(self, way: Way, stop: threading.Event) -> Iterator[bool]:
        """Wait until a connection to `way.host` may be begun; it counts as being opened until the context ends.

        The value is False where `stop` was set before: do not connect then.
        """
        with self._standing(self._hosts, way.host, self.limits.per_host) as place:
            yield place.wait(stop) and not stop.wait(self._until_my_moment_s())

    @contextmanager
    def _standing(
        self, lines: dict[str, _Line], name: str, places: int, *, yields: bool = False
    ) -> Iterator[Place]:
        place = Place(yields=yields)
        with self._lock:
            lines.setdefault(name, _Line(places)).join(place)
        try:
            yield place
        finally:
            with self._lock:
                line = lines[name]
                line.leave(place)
                if not line.holders and not line.waiting:
                    del lines[name]

    def _until_my_moment_s(self) -> float:
        with self._lock:
            return self._pace.wait_s(self._clock.mono_s())
