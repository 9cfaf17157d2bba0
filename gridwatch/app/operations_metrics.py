# SPDX-License-Identifier: AGPL-3.0-or-later
"""Prometheus metrics of what keeps cameras from seeing, and of how the exercises went. Listed in docs/metrics.md."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from events.operations import Operations
from events.troubles import TroubleKind
from gridwatch.app.canary import Canary


class OperationsCollector(Collector):
    """Reads the open operations alerts, and the canary where there is one."""

    def __init__(self, operations: Operations, canary: Canary | None) -> None:
        self._operations, self._canary = operations, canary

    def collect(self) -> Iterator[Metric]:
        """Return every metric now."""
        alerts = self._operations.open_alerts
        text = "Operations alerts that are open"
        family = GaugeMetricFamily("gridwatch_operations_alerts", text, labels=["kind"])
        troubled = GaugeMetricFamily(
            "gridwatch_operations_troubles", "Cameras, and other parts, that they are about", labels=["kind"]
        )
        for kind in TroubleKind:
            of_kind = [alert for alert in alerts if alert.kind is kind]
            family.add_metric([kind.value], len(of_kind))
            troubled.add_metric([kind.value], sum(alert.count for alert in of_kind))
        yield family
        yield troubled
        if self._canary is not None:
            yield from _exercises(self._canary)


def _exercises(canary: Canary) -> Iterator[Metric]:
    outcomes = CounterMetricFamily(
        "gridwatch_canary_exercises", "Exercises of the test camera", labels=["outcome"]
    )
    outcomes.add_metric(["arrived"], canary.arrived)
    outcomes.add_metric(["missed"], canary.missed)
    yield outcomes
    if canary.last_took_s is not None:
        text = "From the order to burn until the message of the last exercise that arrived was in the queue"
        yield GaugeMetricFamily("gridwatch_canary_seconds", text, value=canary.last_took_s)
