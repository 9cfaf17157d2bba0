# SPDX-License-Identifier: AGPL-3.0-or-later
"""3,500 cameras that take turns for a simulated week, a tenth of them lost: is every revisit bound kept, and what costs a decision?

The scheduler is the product's own; cameras are numbers. Visits take 1.5 to 5.5 s (connecting, two key frames). After a day
a tenth of the cameras goes silent at one moment and stays so: each try costs its whole time-out. One visit in a hundred finds
something suspicious; its camera is watched without a break until it is quiet, 20 s to 5 min. The others are quiet, as where looks
are answered before a visit is over. The hour of the day turns, and with it the weights. A book kept apart from the scheduler
remembers what each camera was promised and when it was visited.
The last line is one JSON object; exit 1 where a promise was broken.
"""

import argparse
import heapq
import json
import random
import sys
import time
from array import array
from dataclasses import dataclass, field
from typing import Any

from gridwatch.app.bars import progress_bars
from ingest.attention import Attention
from ingest.budget import Budget, Policy
from ingest.turns import Outcome, Plan, Visit, Watched

DAY_S, HOUR_S = 86400, 3600
VISIT_S = (1.5, 5.5)
QUIET_AFTER_S = (20.0, 300.0)
SUSPICIOUS = 0.01
TOLD_S = 600.0  # a bar's step
PLACES = {
    "street": 40, "market": 10, "square": 8, "school_gate": 6, "road": 20, "fast_road": 6, "forest_edge": 4, "yard": 6,
}  # fmt: skip
RISKS = {1.0: 85, 2.0: 10, 3.0: 4, 4.0: 1}  # history of confirmed incidents


def fleet(cameras: int, rng: random.Random) -> list[Watched]:
    """Return cameras of all places; most have no history."""
    places = rng.choices(list(PLACES), list(PLACES.values()), k=cameras)
    risks = rng.choices(list(RISKS), list(RISKS.values()), k=cameras)
    both = enumerate(zip(places, risks, strict=True))
    return [Watched(f"camera-{number}", risk, place) for number, (place, risk) in both]


@dataclass
class Book:
    """What was promised to each camera, and whether it was kept; it asks the scheduler nothing."""

    promises: dict[str, float] = field(default_factory=dict)
    kept: int = 0
    broken: int = 0
    restated: int = 0
    told_late: int = 0
    longest_s: float = 0.0
    slack: "array[float]" = field(default_factory=lambda: array("f"))

    def told(self, plan: Plan, now_s: float) -> None:
        """Take down what a plan promises."""
        for promise in plan.promised:
            if promise.before_s is not None:
                self.restated += 1
                self.told_late += now_s > self.promises[promise.camera_id]
            self.promises[promise.camera_id] = promise.by_s

    def visited(self, camera_id: str, now_s: float, next_by_s: float | None) -> None:
        """Compare the end of a visit with its promise."""
        by_s = self.promises[camera_id]
        self.kept += now_s <= by_s
        self.broken += now_s > by_s
        if next_by_s is not None:
            self.promises[camera_id] = next_by_s

    def overdue(self, now_s: float) -> int:
        """Return how many promises have passed without a visit."""
        return sum(by_s < now_s for by_s in self.promises.values())


class Week:
    """Drives the scheduler from event to event."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._rng = random.Random(arguments.seed)
        self.watched = fleet(arguments.cameras, self._rng)
        lost = self._rng.sample(self.watched, round(arguments.lost * arguments.cameras))
        self.lost = {item.camera_id for item in lost}
        self.lost_from_s = min(DAY_S, arguments.days * DAY_S / 7)
        self.attention = Attention(self.watched, Budget(arguments.connections), Policy())
        self.book = Book()
        self.now_s = 0.0
        self.visits = self.failed = self.most_connected = 0
        self.most_continuous = 0
        self.worst_decision_s = self.deciding_s = 0.0
        self._ends: list[tuple[float, str, Outcome, float]] = []
        self._quiet_at: dict[str, float] = {}

    def step(self) -> None:
        """Go on to the next moment at which something happens."""
        while self._ends and self._ends[0][0] <= self.now_s:
            self._end(*heapq.heappop(self._ends))
        for camera_id in [name for name, at in self._quiet_at.items() if at <= self.now_s]:
            del self._quiet_at[camera_id]
            self.attention.demote(camera_id, self.now_s)
        self.attention.at_hour(int(self.now_s // HOUR_S) % 24)
        began = time.thread_time()
        plan = self.attention.plan(self.now_s)
        self._decided(began)
        self.book.told(plan, self.now_s)
        for camera_id in plan.continuous:
            if camera_id not in self._quiet_at:
                self._quiet_at[camera_id] = self.now_s + self._rng.uniform(*QUIET_AFTER_S)
        self._quiet_at = {name: at for name, at in self._quiet_at.items() if name in plan.continuous}
        for visit in plan.visit:
            self._begin(visit)
        self.most_continuous = max(self.most_continuous, len(plan.continuous))
        self.most_connected = max(self.most_connected, len(self._ends) + len(plan.continuous))
        moments = [plan.again_s, *(end[0] for end in self._ends[:1]), *self._quiet_at.values()]
        self.now_s = max(self.now_s, min(moments))

    def _begin(self, visit: Visit) -> None:
        if visit.camera_id in self.lost and self.now_s >= self.lost_from_s:
            outcome, took_s = Outcome.FAILED, visit.within_s
        else:
            suspicious = self._rng.random() < SUSPICIOUS
            outcome = Outcome.SUSPICIOUS if suspicious else Outcome.QUIET
            took_s = min(visit.within_s, self._rng.uniform(*VISIT_S))
        heapq.heappush(self._ends, (self.now_s + took_s, visit.camera_id, outcome, took_s))

    def _end(self, at_s: float, camera_id: str, outcome: Outcome, took_s: float) -> None:
        self.visits += 1
        self.failed += not outcome.saw
        began = time.thread_time()
        by_s = self.attention.visited(camera_id, at_s, outcome, took_s, seen_s=min(took_s, 2.0))
        self._decided(began)
        self.book.visited(camera_id, at_s, by_s)

    def _decided(self, began: float) -> None:
        took_s = time.thread_time() - began
        self.deciding_s += took_s
        self.worst_decision_s = max(self.worst_decision_s, took_s)


def report(week: Week, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return what is printed."""
    turns = [week.attention.turns_taken(item.camera_id, week.now_s) for item in week.watched]
    shares = [turn.share for turn in turns if turn.camera_id not in week.lost] or [0.0]
    broken = week.book.broken + week.book.overdue(week.now_s)
    decided = week.book.kept + broken
    typical = next(item.camera_id for item in week.watched if item.risk == 1 and item.place == "street")
    return {
        "cameras": arguments.cameras,
        "lost": len(week.lost),
        "connections": arguments.connections,
        "days": arguments.days,
        "visits": week.visits,
        "visits_failed": week.failed,
        "bounds_kept": round(week.book.kept / decided, 6),
        "bounds_broken": broken,
        "bounds_restated": week.book.restated,
        "restated_too_late": week.book.told_late,
        "visits_least": min(turn.visits for turn in turns),
        "bound_street_s": round(week.attention.bound_s(typical), 1),
        "usual_street_s": round(week.attention.usual_s(typical), 1),
        "coverage_mean": round(sum(shares) / len(shares), 5),
        "coverage_least": round(min(shares), 5),
        "connections_most": week.most_connected,
        "continuous_most": week.most_continuous,
        "cpu_us_per_visit": round(week.deciding_s / week.visits * 1e6, 1),
        "decision_most_cpu_ms": round(week.worst_decision_s * 1e3, 1),
    }


def main() -> int:
    """Run a week; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cameras", type=int, default=3500)
    parser.add_argument(
        "--connections", type=int, default=24, help="cameras that are connected at the same time"
    )
    parser.add_argument(
        "--lost", type=float, default=0.1, help="share of the cameras that is lost after a day"
    )
    parser.add_argument("--days", type=float, default=7.0)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    week = Week(arguments)
    until_s = arguments.days * DAY_S
    with progress_bars() as bars:
        bar = bars.add_task("hours", total=round(until_s / HOUR_S, 1))
        next_s = 0.0
        while week.now_s < until_s:
            week.step()
            if week.now_s >= next_s:
                next_s += TOLD_S
                bars.update(bar, completed=round(week.now_s / HOUR_S, 1))
    result = report(week, arguments)
    print(json.dumps(result))
    wrong = result["bounds_broken"] or result["restated_too_late"] or week.attention.missed
    return 1 if wrong or week.most_connected > arguments.connections else 0


if __name__ == "__main__":
    sys.exit(main())
