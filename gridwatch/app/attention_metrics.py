# SPDX-License-Identifier: AGPL-3.0-or-later
"""Prometheus metrics of cameras that take turns (轮巡); no label is a camera's. Listed in docs/metrics.md."""

from collections.abc import Iterator
from statistics import median

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gridwatch.app.taking_turns import TakingTurns
from ingest.visits import VisitsNow


class AttentionCollector(Collector):
    """How visits went, what is promised, and who is watched how. Reading it goes over all cameras that take turns."""

    def __init__(self, turns: TakingTurns) -> None:
        self._turns = turns

    def collect(self) -> Iterator[Metric]:
        """Return every metric now."""
        turning = self._turns.turning
        now = self._turns.visits.now(turning)
        yield self._cameras(len(turning), now.promoted)
        yield from _visits(now, self._turns.visits.abandoned)
        yield from _promises(now)

    def _cameras(self, turning: int, promoted: int) -> Metric:
        text = "Cameras that may be connected to, by how they are watched"
        family = GaugeMetricFamily("gridwatch_attention_cameras", text, labels=["watched"])
        counts = {"in_turn": turning - promoted, "promoted": promoted, "always": len(self._turns.held)}
        for watched, count in counts.items():
            family.add_metric([watched], count)
        return family


def _visits(now: VisitsNow, abandoned: int) -> Iterator[Metric]:
    visits = CounterMetricFamily("gridwatch_visits", "Visits that are over", labels=["outcome"])
    for outcome, count in now.outcomes.items():
        visits.add_metric([outcome.value], count)
    yield visits
    text = "Visits that did not come back in time; they count as failed"
    yield CounterMetricFamily("gridwatch_visits_abandoned", text, value=abandoned)
    yield GaugeMetricFamily("gridwatch_visitors_busy", "Visits that go on", value=now.busy)
    text = "Visits that were abandoned and have not come back"
    yield GaugeMetricFamily("gridwatch_visitors_stuck", text, value=now.stuck)


def _promises(now: VisitsNow) -> Iterator[Metric]:
    text = "Visits that ended later than had been promised"
    yield CounterMetricFamily("gridwatch_revisit_promises_missed", text, value=now.missed)
    text = "Times that revisit bounds were made longer, before the first was broken"
    yield CounterMetricFamily("gridwatch_revisit_bounds_restated", text, value=now.restated)
    if not now.bounds_s:
        return
    text = "The longest time between two visits that is promised to a camera"
    yield GaugeMetricFamily("gridwatch_revisit_bound_longest_seconds", text, value=max(now.bounds_s))
    text = "The median of what is promised"
    yield GaugeMetricFamily("gridwatch_revisit_bound_median_seconds", text, value=median(now.bounds_s))
    text = "The median of the time after which cameras become due again as things are now"
    yield GaugeMetricFamily("gridwatch_revisit_usual_seconds", text, value=median(now.usual_s))
