# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which cameras have to take turns at all. Where the budget is nearly enough, most can be watched without a break. Pure.

The riskiest are held, as many as leave the others enough to come round quickly. Where they could not even if nobody was
held, nobody is.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ingest.budget import Budget, Policy, Spending
from ingest.reckoning import Reckoning
from ingest.risk import HOURS, bounded, by_hour
from ingest.turns import Turn, Watched

_HELD_LOOKS_PER_S = 0.5  # of a camera on which mostly nothing happens
_QUICK_S = 20.0  # the usual revisit time of a camera of weight 1, up to which others may be held


@dataclass(frozen=True, slots=True)
class Division:
    """Who is watched without a break, who takes turns, and what is left of the budget for those."""

    held: tuple[Watched, ...]
    turns: tuple[Watched, ...]
    budget: Budget


def divide(watched: Sequence[Watched], budget: Budget, policy: Policy | None = None) -> Division:
    """Divide cameras into those that are watched without a break and those that take turns.

    All are held where the budget allows. A camera behind a recorder that has fewer sessions than cameras is held only then.
    """
    policy = policy or Policy()
    if _all_fit(watched, budget):
        return Division(tuple(watched), (), budget)
    short = _short(watched, budget)
    ordered = sorted(watched, key=lambda item: (item.recorder in short, -_weight(item)))
    few, many = 0, sum(item.recorder not in short for item in watched)
    while few < many:
        middle = (few + many + 1) // 2
        left = _less(budget, ordered[:middle])
        if left is not None and _come_round_quickly(ordered[middle:], left, policy):
            few = middle
        else:
            many = middle - 1
    return Division(tuple(ordered[:few]), tuple(ordered[few:]), _less(budget, ordered[:few]) or budget)


def _weight(item: Watched) -> float:
    return bounded(item.risk) * max(by_hour(item.place))


def _short(watched: Sequence[Watched], budget: Budget) -> frozenset[str]:
    """Return the recorders that have fewer sessions than cameras."""
    behind = Counter(item.recorder for item in watched)
    return frozenset(name for name, sessions in budget.sessions.items() if behind[name] > sessions)


def _all_fit(watched: Sequence[Watched], budget: Budget) -> bool:
    return (
        len(watched) <= budget.slots
        and not _short(watched, budget)
        and all(total is None or used <= total for total, used in _used(budget, watched))
    )


def _used(budget: Budget, held: Sequence[Watched]) -> tuple[tuple[float | None, float], ...]:
    """Return each rate of a budget, and what `held` use of it."""
    return (
        (budget.key_frames_per_s, sum(item.key_frames_per_s for item in held)),
        (budget.looks_per_s, len(held) * _HELD_LOOKS_PER_S),
        (budget.mbit_per_s, sum(item.mbit_per_s for item in held)),
    )


def _less(budget: Budget, held: Sequence[Watched]) -> Budget | None:
    """Return what `held` leave of a budget; None: nothing."""
    slots = budget.slots - len(held)
    keys, looks, mbit = (None if total is None else total - used for total, used in _used(budget, held))
    if slots < 1 or any(rate is not None and rate <= 0 for rate in (keys, looks, mbit)):
        return None
    return replace(budget, slots=slots, key_frames_per_s=keys, looks_per_s=looks, mbit_per_s=mbit)


def _come_round_quickly(turns: Sequence[Watched], budget: Budget, policy: Policy) -> bool:
    rates = [item.mbit_per_s for item in turns]
    if budget.mbit_per_s is not None and max(rates) > budget.mbit_per_s:
        return False
    spending = Spending(budget, policy, 0.0)
    spending.streams(rates)
    reckoning = Reckoning(spending, policy)
    for number, item in enumerate(turns):
        reckoning.put(Turn(item, number, 0.0, policy.usual_visit_s))
    hours = range(HOURS)
    return all(reckoning.update(hour) == [] and reckoning.usual_base_s() <= _QUICK_S for hour in hours)
