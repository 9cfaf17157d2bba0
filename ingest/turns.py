# SPDX-License-Identifier: AGPL-3.0-or-later
"""The words of taking turns (轮巡), and what is remembered of one camera's. Who is next is not decided here."""

from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from typing import Self

from gridwatch.core.camera import Camera
from ingest.risk import HOURS, bounded, by_history, by_hour

_MAIN_MBIT_PER_S, _SUB_MBIT_PER_S = 4.0, 1.0  # usual streams of 1080p and 640×360
_SMOOTH = 0.3  # weight of the newest visit in the mean time that a camera's visits take
_FULL_TRY_EVERY = 4
_PATIENCE = 1.5  # a lost camera is given so much of what its visits took while they succeeded


@dataclass(frozen=True, slots=True)
class Watched:
    """A camera that takes turns.

    Attributes:
        risk: its weight apart from place and hour (operators' choice, history of confirmed incidents); it is
            bounded to what `ingest.risk` allows.
        place: what kind of place it watches.
        recorder: what it is reached through; matters where the budget bounds that recorder's sessions.
        mbit_per_s: what its stream brings while it is connected.
        key_frames_per_s: what it costs to decode while it is watched without a break.
    """

    camera_id: str
    risk: float = 1.0
    place: str = "street"
    recorder: str = ""
    mbit_per_s: float = _MAIN_MBIT_PER_S
    key_frames_per_s: float = 0.5

    @classmethod
    def of(cls, camera: Camera, confirmed: int = 0) -> Self:
        """Return what is known of a camera on which operators confirmed so many incidents in the last 30 days."""
        mbit_per_s = _MAIN_MBIT_PER_S if camera.sub_url is None else _SUB_MBIT_PER_S
        return cls(camera.camera_id, by_history(confirmed), camera.place, camera.reached_through, mbit_per_s)

    @property
    def cost(self) -> tuple[str, float, float]:
        """What of the budget it takes while it is connected: its recorder's session, Mbit/s, key frames a second."""
        return self.recorder, self.mbit_per_s, self.key_frames_per_s


class Outcome(StrEnum):
    """What a visit brought."""

    QUIET = "quiet"  # pictures; the network answered, and nothing is suspected
    SEEN = "seen"  # pictures, of which nothing is known yet
    SUSPICIOUS = "suspicious"  # a claim is open or may be forming, or the camera is followed for what changed
    FAILED = "failed"  # no picture
    REFUSED = "refused"  # user or password

    @property
    def saw(self) -> bool:
        """Whether there was a picture."""
        return self not in {Outcome.FAILED, Outcome.REFUSED}


@dataclass(frozen=True, slots=True)
class Visit:
    """A camera to be visited now. It takes `within_s` at most, and is promised to be over at `by_s` (monotonic)."""

    camera_id: str
    within_s: float
    by_s: float


@dataclass(frozen=True, slots=True)
class Promise:
    """Until when a camera is visited.

    Attributes:
        by_s: monotonic seconds; infinity: it is watched without a break from now on.
        bound_s: from the end of its last visit, seconds.
        before_s: where it replaces a shorter promise, which cannot be kept any more: what that was. It is told before
            the earlier one is broken.
    """

    camera_id: str
    by_s: float
    bound_s: float
    before_s: float | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do now.

    Attributes:
        visit: to be begun at once, most urgent first.
        continuous: cameras that are to be watched without a break, all of them.
        promised: what was promised or restated since the last plan, in this order; not what `visited` returned.
        again_s: when to ask again at the latest, unless a visit ends before; monotonic seconds.
    """

    visit: tuple[Visit, ...]
    continuous: frozenset[str]
    promised: tuple[Promise, ...]
    again_s: float

    @property
    def restated(self) -> tuple[Promise, ...]:
        """Those of the promises that replace a shorter one."""
        return tuple(promise for promise in self.promised if promise.before_s is not None)


@dataclass(frozen=True, slots=True)
class TurnsTaken:
    """One camera's coverage since it was asked for afresh.

    Attributes:
        watched_s: how long it was to be watched.
        covered_s: how much of that its last picture was younger than its cadence.
        visits, failed: visits that ended, and those of them without a picture.
        longest_s: the longest time between the ends of two visits.
        bound_s: the revisit bound that is stated now.
    """

    camera_id: str
    watched_s: float
    covered_s: float
    visits: int
    failed: int
    longest_s: float
    bound_s: float

    @property
    def share(self) -> float:
        """Covered time as a share of all, 0 to 1."""
        return self.covered_s / self.watched_s if self.watched_s > 0 else 0.0


class Standing(Enum):
    """Where a camera stands in the round."""

    WAITING = auto()  # its next visit is not due yet
    DUE = auto()
    VISITED = auto()
    CONTINUOUS = auto()


class Turn:
    """One camera in the round: where it stands, what it was promised, what its visits were like."""

    __slots__ = (
        "_covered_s", "_covered_until_s", "_failed", "_good_s", "_longest_s", "_tries", "_visits", "_watched_from_s",
        "asked", "by_s", "eager", "gone", "held_mbit_per_s", "held_recorder", "hour", "lost", "order", "refused", "replaces",
        "since_s", "standing", "took_s", "untried", "urgent", "version", "watched", "weights",
    )  # fmt: skip

    def __init__(self, watched: Watched, order: int, now_s: float, usual_s: float) -> None:
        self.order = order  # who comes first of two that are equal
        self.accept(watched)
        self.standing = Standing.WAITING
        self.version = 0  # grows with every change that makes entries in heaps stale
        self.since_s, self.untried = now_s, True  # the end of the last visit; there was none yet
        self.by_s = float("inf")  # promised; nothing yet
        self.took_s = usual_s
        self.hour = 0  # at which it was promised
        self.lost = self.refused = self.urgent = self.eager = self.gone = False
        self.asked = False  # for more, while the visit went on that still goes on
        self.replaces = False  # another camera of the same id, whose visit still goes on
        self.held_mbit_per_s, self.held_recorder = 0.0, ""
        self._good_s = self._covered_s = self._longest_s = 0.0
        self._tries = self._visits = self._failed = 0
        self._covered_until_s = self._watched_from_s = now_s

    def replace(self, before: "Turn") -> None:
        """Take over the connection of a camera of the same id that is gone, and whose visit still goes on."""
        self.standing, self.replaces = before.standing, True
        self.held_mbit_per_s, self.held_recorder = before.held_mbit_per_s, before.held_recorder

    def accept(self, watched: Watched) -> None:
        """Take over what is said of the camera."""
        self.watched = watched
        factors = by_hour(watched.place)
        risk = bounded(watched.risk)
        self.weights = tuple(risk * factor for factor in factors)

    def weight(self, hour: int) -> float:
        """Return how many times more often than a camera of weight 1 it is visited at that hour."""
        return self.weights[hour % HOURS]

    def patience_s(self, whole_s: float, short_s: float) -> float:
        """Return how long its next visit may take. A lost camera costs little, but every fourth try is a whole one."""
        if not self.lost or self._tries % _FULL_TRY_EVERY == 0:
            return whole_s
        return min(whole_s, max(short_s, _PATIENCE * self._good_s))

    def measure(self, outcome: Outcome, took_s: float) -> None:
        """Remember how a visit went."""
        self.took_s += _SMOOTH * (took_s - self.took_s)
        self.lost, self.refused = not outcome.saw, outcome is Outcome.REFUSED
        self._visits += 1
        if outcome.saw:
            self._good_s = took_s if self._good_s == 0 else self._good_s + _SMOOTH * (took_s - self._good_s)
            self._tries = 0
        else:
            self._failed += 1
            self._tries += 1

    def ended(self, now_s: float) -> None:
        """Say that a visit is over: a new time of waiting begins."""
        self._longest_s = max(self._longest_s, now_s - self.since_s)
        self.since_s, self.untried = now_s, False

    def released(self, now_s: float, cadence_s: float) -> None:
        """Say that it is not watched without a break any more: its time of waiting begins."""
        self.saw(self.since_s, now_s, cadence_s)
        self.since_s = now_s

    def saw(self, from_s: float, until_s: float, cadence_s: float) -> None:
        """Count a time with pictures, and the cadence after it, as covered."""
        end_s = until_s + cadence_s
        self._covered_s += max(0.0, end_s - max(from_s, self._covered_until_s))
        self._covered_until_s = max(self._covered_until_s, end_s)

    def begin_afresh(self, now_s: float) -> None:
        """Count coverage from now on, as on a new day."""
        self._catch_up(now_s)
        self._watched_from_s = now_s
        self._covered_s = max(0.0, self._covered_until_s - now_s)  # the last picture stands for a while yet
        self._longest_s = 0.0
        self._visits = self._failed = 0

    def taken(self, now_s: float, bound_s: float) -> TurnsTaken:
        """Return its coverage so far."""
        self._catch_up(now_s)
        ahead_s = max(0.0, self._covered_until_s - now_s)
        return TurnsTaken(
            camera_id=self.watched.camera_id,
            watched_s=now_s - self._watched_from_s,
            covered_s=max(0.0, self._covered_s - ahead_s),
            visits=self._visits,
            failed=self._failed,
            longest_s=self._longest_s,
            bound_s=bound_s,
        )

    def _catch_up(self, now_s: float) -> None:
        if self.standing is Standing.CONTINUOUS:
            self.saw(self.since_s, now_s, 0.0)
