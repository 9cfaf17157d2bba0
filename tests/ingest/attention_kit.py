# SPDX-License-Identifier: AGPL-3.0-or-later
"""A fleet of cameras in simulated time that `Attention` sends visits to, with its own book of what was promised and spent."""

import heapq
import random
from dataclasses import dataclass, field

from ingest.attention import Attention
from ingest.budget import Budget, Policy
from ingest.turns import Outcome, Watched

INFINITE = float("inf")
PLACES = ["street", "street", "street", "market", "square", "road", "fast_road", "forest_edge", "yard"]


def fleet(count, seed=1, **fields):
    """Return `count` cameras of mixed places and risks."""
    rng = random.Random(seed)
    return [
        Watched(f"cam-{n}", risk=rng.choice([0.5, 1, 1, 1, 2, 4]), place=rng.choice(PLACES), **fields)
        for n in range(count)
    ]


def good(rng, visit, now_s):
    """A visit as most are: some seconds, and nothing changed."""
    return Outcome.QUIET, min(visit.within_s, rng.uniform(1.5, 5.5))


def stalled(rng, visit, now_s):
    """A camera that answers nothing until the time is up."""
    return Outcome.FAILED, visit.within_s


@dataclass
class Spent:
    """One rate of the budget: the worst excess over `rate·t` in any time so far."""

    rate: float | None
    used: float = 0.0
    least: float = INFINITE
    excess: float = 0.0

    def add(self, now_s, amount, *, over_s=0.0):
        """Count `amount`, spent evenly from `now_s` on over `over_s`."""
        if self.rate is not None:
            self.least = min(self.least, self.used - self.rate * now_s)
            self.used += amount
            self.excess = max(self.excess, self.used - self.rate * (now_s + over_s) - self.least)


@dataclass
class Fleet:
    """Drives `Attention` from event to event and checks, at each, what must hold at every moment.

    Args:
        answer: (random, visit, now) → outcome and seconds, for all cameras; `answers` for single ones.
        demote_after_s: so long after a promotion its camera is said to be quiet.
    """

    watched: list
    budget: Budget
    policy: Policy = field(default_factory=Policy)
    seed: int = 1
    answer: object = good
    answers: dict = field(default_factory=dict)
    demote_after_s: float = INFINITE

    def __post_init__(self):
        self.rng, self.now_s = random.Random(self.seed), 0.0
        self.cameras = {item.camera_id: item for item in self.watched}
        self.attention = Attention(self.watched, self.budget, self.policy)
        self.promises, self.running, self.continuous = {}, {}, {}
        self.ends, self.log, self.restated, self.gaps = [], [], [], {}
        self.visits = dict.fromkeys(self.cameras, 0)
        self.busy_s = dict.fromkeys(self.cameras, 0.0)
        self.most_continuous, self.next_look_s = 0, 0.0
        self.begun = Spent(self.budget.visits_per_s)
        self.keys, self.looks = Spent(self.budget.key_frames_per_s), Spent(self.budget.looks_per_s)

    def run(self, until_s):
        """Go on until `until_s`."""
        while self.now_s < until_s:
            self._drain()
            self.attention.at_hour(int(self.now_s // 3600) % 24)
            plan = self.attention.plan(self.now_s)
            self._carry_out(plan)
            self._check()
            moments = [plan.again_s, until_s, self.now_s + 60, *(at for at, *_ in self.ends[:1])]
            moments += [at + self.demote_after_s for at in self.continuous.values()]
            after_s = min(moments)
            assert after_s > self.now_s or plan.visit or self.ends[0][0] <= self.now_s, (
                "the plan turns on the spot"
            )
            self._use(after_s - self.now_s)
            self.now_s = max(self.now_s, after_s)

    def add(self, watched):
        self.cameras[watched.camera_id] = watched
        self.visits.setdefault(watched.camera_id, 0)
        self.busy_s.setdefault(watched.camera_id, 0.0)
        self.attention.add(watched, self.now_s)

    def remove(self, camera_id):
        del self.cameras[camera_id]
        self.promises.pop(camera_id, None)
        self.continuous.pop(camera_id, None)
        self.attention.remove(camera_id, self.now_s)

    def demote(self, camera_id):
        self.continuous.pop(camera_id, None)
        self.attention.demote(camera_id, self.now_s)

    def _carry_out(self, plan):
        for promise in plan.promised:
            if promise.before_s is not None:
                assert self.now_s <= self.promises[promise.camera_id] + 1e-6, "told after it was broken"
                assert promise.bound_s > promise.before_s
            self.promises[promise.camera_id] = promise.by_s
        self.restated += plan.restated
        self.continuous = {c: self.continuous.get(c, self.now_s) for c in sorted(plan.continuous)}
        self.most_continuous = max(self.most_continuous, len(self.continuous))
        for visit in plan.visit:
            assert visit.camera_id not in self.running
            assert visit.camera_id not in self.continuous
            outcome, took_s = self.answers.get(visit.camera_id, self.answer)(self.rng, visit, self.now_s)
            held = self.cameras[visit.camera_id]
            self.running[visit.camera_id] = held
            heapq.heappush(self.ends, (self.now_s + took_s, visit.camera_id, outcome, took_s))
            self.log.append((self.now_s, visit.camera_id))
            self.begun.add(self.now_s, 1)
            self.keys.add(self.now_s, self.policy.keys_per_visit)
            self.looks.add(self.now_s, self.policy.looks_per_visit)

    def _drain(self):
        while self.ends and self.ends[0][0] <= self.now_s:
            at, camera_id, outcome, took_s = heapq.heappop(self.ends)
            del self.running[camera_id]
            by_s = self.attention.visited(camera_id, at, outcome, took_s)
            if camera_id not in self.cameras:
                continue
            if camera_id in self.promises:
                assert at <= self.promises[camera_id] + 1e-6, "a promise was broken"
            self.visits[camera_id] += 1
            self.busy_s[camera_id] += took_s
            if by_s is not None:
                self.promises[camera_id] = by_s
        for camera_id, since_s in list(self.continuous.items()):
            if self.now_s >= since_s + self.demote_after_s:
                self.demote(camera_id)

    def _use(self, seconds):
        """Count what continuous watching uses in `seconds`."""
        keys = sum(self.cameras[camera_id].key_frames_per_s for camera_id in self.continuous)
        looks = len(self.continuous) * self.policy.continuous_looks_per_s
        self.keys.add(self.now_s, keys * seconds, over_s=seconds)
        self.looks.add(self.now_s, looks * seconds, over_s=seconds)

    def _check(self):
        connected = [*self.running.values(), *(self.cameras[c] for c in self.continuous)]
        assert len(connected) <= self.budget.slots
        if self.budget.mbit_per_s is not None:
            assert sum(item.mbit_per_s for item in connected) <= self.budget.mbit_per_s + 1e-6
        for recorder, sessions in self.budget.sessions.items():
            assert sum(item.recorder == recorder for item in connected) <= sessions
        if self.now_s >= self.next_look_s:  # a broken one stays broken until the visit, which is checked
            self.next_look_s = self.now_s + 20
            for camera_id in self.cameras:
                assert self.promises[camera_id] >= self.now_s, "a promise was broken, and nobody was told"
        assert self.attention.missed == 0

    def check_rates(self):
        """Check what was spent over any time: at most the rate, and a burst of a second or one visit."""
        for spent, one in (
            (self.begun, 1),
            (self.keys, self.policy.keys_per_visit),
            (self.looks, self.policy.looks_per_visit),
        ):
            if spent.rate is not None:
                assert spent.excess <= max(one, spent.rate) + 1e-6
