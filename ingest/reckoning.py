# SPDX-License-Identifier: AGPL-3.0-or-later
"""How long a round takes that keeps to a budget: what can be promised to each camera, and what is usual. Pure arithmetic.

A *base* is the revisit time of a camera of weight 1, seconds; one of weight w comes again after base / w. It is found
where what all cameras ask for in a second equals what there is, Σ cost·w / base = capacity, for each part of the budget;
the scarcest decides. It is how utilisation of periodic tasks is reckoned (Liu and Layland, 1973).
"""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from ingest.budget import Capacity, Policy, Spending
from ingest.risk import BY_PLACE, HOURS, bounded, by_hour
from ingest.turns import Turn

_PROMISED = 0.85  # of the capacity is promised; the rest absorbs visits that take longer than the mean
_USED = 0.95  # of the capacity is used in ordinary rounds
_LOST_AT_ONCE = 0.1  # of the cameras, each costing a whole time-out; promises hold all the same
_AIR = 1.05  # between what a promise needs and what is promised, so that it is not restated for every trifle
_GENEROUS = 0.7  # a promise is made shorter once so little of it would do
_LOST_REST = 0.9  # a lost camera rests for so much of its bound
_AT_LEAST = 0.2  # of the capacity is reckoned with for those that are not lost
_LITTLE = 1e-9
_MOST_CORRECTED = 4.0
_FORGETS = 0.9995  # of a correction is left at the next reckoning
ALL = ""
_ROWS = {place: number for number, place in enumerate(BY_PLACE)}
_Numbers = NDArray[np.float64]


class Demand:
    """What cameras ask for: for each place the sums of slot·s, Mbit and turns; those of lost cameras apart.

    Each camera counts by its own risk; the hour comes in when a base is asked for.
    """

    def __init__(self) -> None:
        self._sums = [[[0.0, 0.0, 0.0] for _ in _ROWS] for _ in range(2)]

    def put(self, turn: Turn, sign: int) -> None:
        """Add a camera, or take it away with `sign` -1."""
        watched = turn.watched
        row = self._sums[turn.lost][_ROWS.get(watched.place, _ROWS["street"])]
        weight = sign * bounded(watched.risk)
        row[0] += weight * turn.took_s
        row[1] += weight * turn.took_s * watched.mbit_per_s
        row[2] += weight

    def at(self, factors: _Numbers) -> _Numbers:
        """Return the sums at each hour of `factors` (hours, places): shape (2, hours, 3), of good and of lost cameras."""
        sums: _Numbers = np.matmul(factors, np.asarray(self._sums))
        return sums


class Reckoning:
    """The bases of all cameras together, and of each recorder whose sessions are bounded."""

    def __init__(self, spending: Spending, policy: Policy) -> None:
        self._spending, self._policy = spending, policy
        self._by_hour: _Numbers = np.array([by_hour(place) for place in BY_PLACE]).T
        # While an hour turns, some cameras still have the promise of the one and others that of the next.
        self._worst: _Numbers = np.maximum(self._by_hour, np.roll(self._by_hour, -1, axis=0))
        self._demand = {ALL: Demand()} | {recorder: Demand() for recorder in spending.budget.sessions}
        self._promised_s: dict[str, float] = {}
        self._usual_s: dict[str, float] = {}
        self._correction = dict.fromkeys(self._demand, 1.0)

    def anew(self, turns: Iterable[Turn]) -> "Reckoning":
        """Return one for the budget as it is now and these cameras, with the promises of this one."""
        other = Reckoning(self._spending, self._policy)
        for turn in turns:
            other.put(turn)
        names = other._demand.keys() & self._promised_s.keys()
        other._promised_s = {name: self._promised_s[name] for name in names}
        other._usual_s = {name: self._usual_s[name] for name in names}
        other._correction |= {name: self._correction[name] for name in names}
        return other

    def put(self, turn: Turn, sign: int = 1) -> None:
        """Reckon with a camera from now on, or no more with `sign` -1."""
        self._demand[ALL].put(turn, sign)
        own = self._demand.get(turn.watched.recorder)
        if own is not None and turn.watched.recorder != ALL:
            own.put(turn, sign)

    def update(self, hour: int) -> list[str]:
        """Reckon anew; return what had to be promised longer than before: `ALL`, or recorders."""
        spending, now, promised = self._spending, self._spending.now(), self._spending.promised()
        at = self._by_hour[hour % HOURS : hour % HOURS + 1]
        longer = []
        for name, demand in self._demand.items():
            if name != ALL:
                sessions = spending.budget.sessions[name]
                promised = Capacity(sessions - spending.kept_sessions(name), None, None, None, None)
                now = Capacity(sessions, None, None, None, None)
            self._correction[name] = max(1.0, _FORGETS * self._correction[name])
            needed = self._correction[name] * self._needed_s(demand.at(self._worst), promised)
            before = self._promised_s.get(name)
            if before is not None and needed > before:
                longer.append(name)
            if before is None or not _GENEROUS * before <= needed <= before:
                self._promised_s[name] = _AIR * needed
            self._usual_s[name] = self._left_s(demand.at(at), now, self._promised_s[name])
        return longer

    def lengthen(self, name: str, factor: float) -> None:
        """Promise `factor` times as long: what was reckoned did not hold. It is forgotten in the course of hours."""
        before = self._correction[name]
        self._correction[name] = min(_MOST_CORRECTED, before * factor)
        self._promised_s[name] *= self._correction[name] / before

    def bound_s(self, turn: Turn, hour: int) -> float:
        """Return what a camera can be promised: from the end of a visit to the end of the next, seconds.

        The visit itself, and one that holds the slot when it becomes urgent, come on top of the base.
        """
        extra_s = 2 * self._policy.within_s
        bound_s = self._of(self._promised_s, turn) / turn.weight(hour) + extra_s
        return max(bound_s, self._policy.refused_rest_s + extra_s) if turn.refused else bound_s

    def usual_s(self, turn: Turn, hour: int) -> float:
        """Return after how long a camera that is not lost becomes due again, as things are now, seconds."""
        return self._of(self._usual_s, turn) / turn.weight(hour)

    def due_within_s(self, bound_s: float) -> float:
        """Return after how long a camera with such a bound has to be due: lost ones are only then."""
        return _LOST_REST * max(0.0, bound_s - 2 * self._policy.within_s)

    def usual_base_s(self) -> float:
        """Return the base of all cameras together that uses what there is now, seconds."""
        return self._usual_s[ALL]

    def _of(self, bases: dict[str, float], turn: Turn) -> float:
        return max(bases[ALL], bases.get(turn.watched.recorder, 0.0))

    def _needed_s(self, sums: _Numbers, capacity: Capacity) -> float:
        """Return the base that can be promised to all, a tenth of them lost at once."""
        good, lost = sums
        turns = good[:, 2] + lost[:, 2]
        unforeseen_s = np.maximum(0.0, _LOST_AT_ONCE * turns - lost[:, 2]) * self._policy.within_s
        all_of_them = good + lost
        all_of_them[:, 1] *= 1 + unforeseen_s / np.maximum(all_of_them[:, 0], 1.0)
        all_of_them[:, 0] += unforeseen_s
        bases = [amount.max() / (_PROMISED * there) for amount, there in self._asked(all_of_them, capacity)]
        return float(max(bases))

    def _left_s(self, sums: _Numbers, capacity: Capacity, promised_s: float) -> float:
        """Return the base for cameras that are not lost: what those who are lost leave over is theirs."""
        good, lost = sums
        bases = []
        pairs = zip(self._asked(good, capacity), self._asked(lost, capacity), strict=True)
        for (amount, there), (lost_amount, _) in pairs:
            taken = lost_amount.max() / (_LOST_REST * promised_s) if promised_s > 0 else 0.0
            bases.append(amount.max() / max(_USED * there - taken, _AT_LEAST * there))
        return float(max(bases))

    def _asked(self, sums: _Numbers, capacity: Capacity) -> Sequence[tuple[_Numbers, float]]:
        """Return what is asked for at each hour beside what there is, for each part of the budget that is bounded."""
        slot_s, mbit, turns = sums.T
        policy = self._policy
        parts = (
            (slot_s, max(capacity.slots, 1.0)),
            (turns, capacity.visits_per_s),
            (turns * policy.keys_per_visit, capacity.keys_per_s),
            (turns * policy.looks_per_visit, capacity.looks_per_s),
            (mbit, capacity.mbit_per_s),
        )
        return [(amount, max(there, _LITTLE)) for amount, there in parts if there is not None]
