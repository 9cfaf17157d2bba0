# SPDX-License-Identifier: AGPL-3.0-or-later
"""What visiting cameras in turn may cost, and what of that is in use. No clock of its own: time is passed in."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ingest.turns import Turn, Watched

_ROUNDING = 1e-9
_INFINITE = float("inf")


@dataclass(frozen=True, slots=True)
class Budget:
    """What may be spent; None: as much as there is.

    Attributes:
        slots: cameras that are connected at the same time.
        visits_per_s: connections that are begun in a second.
        key_frames_per_s: key frames that are decoded in a second.
        looks_per_s: looks that the network is given in a second.
        mbit_per_s: megabits a second from all connected cameras together.
        sessions: cameras of one recorder that are connected at the same time, by recorder.
    """

    slots: int
    visits_per_s: float | None = None
    key_frames_per_s: float | None = None
    looks_per_s: float | None = None
    mbit_per_s: float | None = None
    sessions: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what would visit nobody.

        Raises:
            ValueError: a bound is not positive.
        """
        rates = (self.visits_per_s, self.key_frames_per_s, self.looks_per_s, self.mbit_per_s)
        if self.slots < 1 or any(rate is not None and rate <= 0 for rate in rates):
            raise ValueError("a budget needs one slot at least, and rates above 0")
        if any(sessions < 1 for sessions in self.sessions.values()):
            raise ValueError("a recorder needs one session at least")


@dataclass(frozen=True, slots=True)
class Policy:
    """How cameras are visited.

    Attributes:
        keys_per_visit, looks_per_visit: what one visit may decode and give to the network.
        usual_visit_s: what a visit is taken to last until one was measured.
        within_s: after so long a visit is ended, whatever came.
        lost_within_s: the same for a camera that failed the last time; every fourth try of it has `within_s`.
        cadence_s: a picture stands for so long; a camera is covered while its last picture is younger.
        rest_s: no camera is visited sooner again.
        refused_rest_s: the same for one that refused user or password, because cameras lock accounts.
        continuous_share: of every part of the budget, kept for cameras that are watched without a break.
        continuous_looks_per_s: what such a camera may ask of the network.
        turn_s: after so long a camera that is watched without a break makes room, if others wait.
    """

    keys_per_visit: int = 2
    looks_per_visit: int = 2
    usual_visit_s: float = 4.0
    within_s: float = 15.0
    lost_within_s: float = 5.0
    cadence_s: float = 4.0
    rest_s: float = 10.0
    refused_rest_s: float = 300.0
    continuous_share: float = 0.25
    continuous_looks_per_s: float = 2.0
    turn_s: float = 600.0

    def __post_init__(self) -> None:
        """Refuse a share that would leave too little for everybody else.

        Raises:
            ValueError: it is more than a half.
        """
        if not 0 <= self.continuous_share <= 0.5:  # noqa: PLR2004
            raise ValueError("the share for continuous watching is between 0 and 0.5")


@dataclass(frozen=True, slots=True)
class Capacity:
    """What there is for visits: a number of slots, and rates in a second. None: without bound."""

    slots: float
    visits_per_s: float | None
    keys_per_s: float | None
    looks_per_s: float | None
    mbit_per_s: float | None


class Bucket:
    """A rate that is never exceeded: in any time t at most rate·t + burst is taken. Without bound until `fill_at`."""

    __slots__ = ("_at_s", "_burst", "_level", "_rate_per_s")

    def __init__(self, now_s: float) -> None:
        self._rate_per_s: float | None = None
        self._burst = self._level = 0.0
        self._at_s = now_s

    def fill_at(self, rate_per_s: float | None, burst: float, now_s: float) -> None:
        """Let it fill at another rate from now on, up to `burst`. None: whatever is asked for is there."""
        if self._rate_per_s is None:
            self._level, self._at_s = burst, now_s
        self._fill(now_s)
        self._rate_per_s, self._burst = rate_per_s, burst
        self._level = min(self._level, burst)

    def wait_s(self, now_s: float, amount: float) -> float:
        """Return after how many seconds `amount` can be taken; 0: now."""
        if self._rate_per_s is None:
            return 0.0
        self._fill(now_s)
        short = amount - self._level
        if short <= _ROUNDING:
            return 0.0
        return short / self._rate_per_s if self._rate_per_s > 0 else _INFINITE

    def take(self, amount: float) -> None:
        """Take `amount`, which `wait_s` said was there."""
        self._level -= amount

    def _fill(self, now_s: float) -> None:
        self._level = min(self._burst, self._level + (now_s - self._at_s) * (self._rate_per_s or 0.0))
        self._at_s = now_s


def _kept(total: float, share: float, one: float) -> float:
    """Return what is kept for continuous watching: the share, or one camera's part where that is half at most."""
    return max(share * total, one if 2 * one <= total else 0.0)


class Spending:
    """What of a budget is in use, by visits and by cameras that are watched without a break."""

    def __init__(self, budget: Budget, policy: Policy, now_s: float) -> None:
        self.budget, self._policy = budget, policy
        self._visits = self._continuous = 0
        self._mbit_per_s = self._continuous_mbit_per_s = self._continuous_keys_per_s = 0.0
        self._sessions: Counter[str] = Counter()
        self._continuous_sessions: Counter[str] = Counter()
        self._mbit_least = self._mbit_most = 0.0
        self._kept = self._kept_rates()
        self._begun, self._keys, self._looks = Bucket(now_s), Bucket(now_s), Bucket(now_s)
        self._fill_buckets(now_s)

    def adopt(self, budget: Budget, watched: Iterable[Watched], now_s: float) -> None:
        """Keep to another budget; what is in use stays in use until it ends.

        Raises:
            ValueError: one of the cameras could never be visited; the budget stays as it was.
        """
        before, self.budget = self.budget, budget
        try:
            for item in watched:
                self.check(item)
        except ValueError:
            self.budget = before
            raise
        self._kept = self._kept_rates()
        self._fill_buckets(now_s)

    def streams(self, mbit_per_s: Sequence[float]) -> None:
        """Say how large all cameras' streams are, Mbit/s."""
        self._mbit_least, self._mbit_most = min(mbit_per_s, default=0.0), max(mbit_per_s, default=0.0)
        self._kept = self._kept_rates()

    def check(self, watched: Watched) -> None:
        """Refuse a camera that could never be visited.

        Raises:
            ValueError: its stream is larger than all that may come at once.
        """
        if self.budget.mbit_per_s is not None and watched.mbit_per_s > self.budget.mbit_per_s:
            raise ValueError(
                f"camera {watched.camera_id} brings {watched.mbit_per_s:g} Mbit/s; {self.budget.mbit_per_s:g} are allowed"
            )

    @property
    def slot_free(self) -> bool:
        """Whether one more camera may be connected."""
        return self._visits + self._continuous < self.budget.slots

    def session_free(self, recorder: str) -> bool:
        """Whether one more camera of `recorder` may be connected."""
        allowed = self.budget.sessions.get(recorder)
        return allowed is None or self._sessions[recorder] < allowed

    def wait_s(self, turn: Turn, now_s: float) -> float:
        """Return after how long a visit can be afforded; 0: now; infinity: when something ends that goes on now."""
        if not self.slot_free or not self.mbit_free(turn):
            return _INFINITE
        return max(
            self._begun.wait_s(now_s, 1.0),
            self._keys.wait_s(now_s, self._policy.keys_per_visit),
            self._looks.wait_s(now_s, self._policy.looks_per_visit),
        )

    def begin(self, turn: Turn) -> None:
        """Count a visit as begun."""
        self._visits += 1
        self._connect(turn)
        self._begun.take(1.0)
        self._keys.take(self._policy.keys_per_visit)
        self._looks.take(self._policy.looks_per_visit)

    def end(self, turn: Turn) -> None:
        """Count a visit as over."""
        self._visits -= 1
        self._disconnect(turn)

    def could_watch(self, watched: Watched) -> bool:
        """Tell whether the share for continuous watching is large enough for a camera at all."""
        keys, looks, mbit = self._kept
        return (
            self.kept_slots >= 1
            and watched.key_frames_per_s <= keys
            and self._policy.continuous_looks_per_s <= looks
            and watched.mbit_per_s <= mbit
            and (watched.recorder not in self.budget.sessions or self.kept_sessions(watched.recorder) >= 1)
        )

    def has_share(self, turn: Turn) -> bool:
        """Tell whether the share for continuous watching has room for a camera now."""
        watched, (keys, looks, mbit) = turn.watched, self._kept
        return (
            self._continuous < self.kept_slots
            and self._continuous_keys_per_s + watched.key_frames_per_s <= keys + _ROUNDING
            and (self._continuous + 1) * self._policy.continuous_looks_per_s <= looks + _ROUNDING
            and self._continuous_mbit_per_s + watched.mbit_per_s <= mbit + _ROUNDING
        )

    def has_session_share(self, recorder: str) -> bool:
        """Tell whether one more camera of `recorder` may be watched without a break."""
        bounded = recorder in self.budget.sessions
        return not bounded or self._continuous_sessions[recorder] < self.kept_sessions(recorder)

    def mbit_free(self, turn: Turn) -> bool:
        """Whether a camera's stream may come beside all that come now."""
        allowed = self.budget.mbit_per_s
        return allowed is None or self._mbit_per_s + turn.watched.mbit_per_s <= allowed + _ROUNDING

    def begin_continuous(self, turn: Turn, now_s: float) -> None:
        """Count a camera as watched without a break."""
        self._connect(turn)
        self._count_continuous(turn, 1, now_s)

    def end_continuous(self, turn: Turn, now_s: float) -> None:
        """Count it as watched so no more."""
        self._count_continuous(turn, -1, now_s)
        self._disconnect(turn)

    @property
    def kept_slots(self) -> int:
        """How many cameras may be watched without a break, as far as slots go."""
        return int(_kept(self.budget.slots, self._policy.continuous_share, 1.0))

    def kept_sessions(self, recorder: str) -> int:
        """How many of a recorder whose sessions are bounded."""
        return int(_kept(self.budget.sessions[recorder], self._policy.continuous_share, 1.0))

    def overdraws(self, turn: Turn) -> bool:
        """Tell whether there is more continuous watching than its share allows of something that this camera uses as well.

        The budget shrank, or a larger stream was added.
        """
        keys, looks, mbit = self._kept
        recorder = turn.held_recorder
        return (
            self._continuous > self.kept_slots
            or self._continuous_keys_per_s > keys + _ROUNDING
            or self._continuous * self._policy.continuous_looks_per_s > looks + _ROUNDING
            or self._continuous_mbit_per_s > mbit + _ROUNDING
            or (
                recorder in self.budget.sessions
                and self._continuous_sessions[recorder] > self.kept_sessions(recorder)
            )
        )

    def promised(self) -> Capacity:
        """Return what visits can count on, whatever is watched without a break."""
        budget, kept = self.budget, self._kept
        return Capacity(
            slots=budget.slots - self.kept_slots,
            visits_per_s=budget.visits_per_s,
            keys_per_s=_left(budget.key_frames_per_s, kept[0]),
            looks_per_s=_left(budget.looks_per_s, kept[1]),
            mbit_per_s=self._for_streams(_left(budget.mbit_per_s, kept[2])),
        )

    def now(self) -> Capacity:
        """Return what there is for visits now."""
        budget, looks = self.budget, self._continuous * self._policy.continuous_looks_per_s
        return Capacity(
            slots=budget.slots - self._continuous,
            visits_per_s=budget.visits_per_s,
            keys_per_s=_left(budget.key_frames_per_s, self._continuous_keys_per_s),
            looks_per_s=_left(budget.looks_per_s, looks),
            mbit_per_s=self._for_streams(_left(budget.mbit_per_s, self._continuous_mbit_per_s)),
        )

    def _kept_rates(self) -> tuple[float, float, float]:
        budget, policy = self.budget, self._policy
        share = policy.continuous_share

        def kept(total: float | None, one: float) -> float:
            return _INFINITE if total is None else _kept(total, share, one)

        return (
            kept(budget.key_frames_per_s, Watched("").key_frames_per_s),
            kept(budget.looks_per_s, policy.continuous_looks_per_s),
            min(
                kept(budget.mbit_per_s, Watched("").mbit_per_s),
                _INFINITE if budget.mbit_per_s is None else max(0.0, budget.mbit_per_s - self._mbit_most),
            ),
        )

    def _for_streams(self, mbit_per_s: float | None) -> float | None:
        """Return what is used at least while the next camera waits: a stream that does not fit leaves a gap."""
        if mbit_per_s is None:
            return None
        return max(mbit_per_s - self._mbit_most, self._mbit_least, _ROUNDING)

    def _connect(self, turn: Turn) -> None:
        turn.held_mbit_per_s, turn.held_recorder = turn.watched.mbit_per_s, turn.watched.recorder
        self._mbit_per_s += turn.held_mbit_per_s
        self._sessions[turn.held_recorder] += 1

    def _disconnect(self, turn: Turn) -> None:
        self._mbit_per_s -= turn.held_mbit_per_s
        self._sessions[turn.held_recorder] -= 1
        if not self._sessions[turn.held_recorder]:
            del self._sessions[turn.held_recorder]

    def _count_continuous(self, turn: Turn, sign: int, now_s: float) -> None:
        self._continuous += sign
        self._continuous_sessions[turn.held_recorder] += sign
        if not self._continuous_sessions[turn.held_recorder]:
            del self._continuous_sessions[turn.held_recorder]
        self._continuous_mbit_per_s += sign * turn.held_mbit_per_s
        self._continuous_keys_per_s += sign * turn.watched.key_frames_per_s
        self._fill_buckets(now_s)

    def _fill_buckets(self, now_s: float) -> None:
        left, policy = self.now(), self._policy
        self._begun.fill_at(left.visits_per_s, max(1.0, left.visits_per_s or 0.0), now_s)
        self._keys.fill_at(left.keys_per_s, max(policy.keys_per_visit, left.keys_per_s or 0.0), now_s)
        self._looks.fill_at(left.looks_per_s, max(policy.looks_per_visit, left.looks_per_s or 0.0), now_s)


def _left(total: float | None, used: float) -> float | None:
    return None if total is None else max(0.0, total - used)
