# SPDX-License-Identifier: AGPL-3.0-or-later
"""What /metrics says of operations alerts and exercises."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest

from events.operations import Operations
from events.stores.sql import Store
from events.troubles import TroubleKind
from gridwatch.app.operations_metrics import OperationsCollector
from gridwatch.core.camera import CameraStatus, Fault, SightState
from gridwatch.core.clock import ManualClock

START = datetime(2026, 11, 26, 2, 0, tzinfo=UTC)
DOCUMENT = Path(__file__).parents[2] / "docs" / "metrics.md"


@dataclass
class Went:
    """How exercises went."""

    arrived: int = 3
    missed: int = 1
    last_took_s: float | None = 12.5


def test_open_alerts_their_cameras_and_exercises_are_counted():
    """Every kind is there from the start; two cameras of one network are one alert about two."""
    clock, registry = ManualClock(START), CollectorRegistry()
    with Store.open("sqlite://") as store:
        operations = Operations(store, clock)
        registry.register(OperationsCollector(operations, Went()))
        before = generate_latest(registry).decode()
        assert {kind for kind in TroubleKind if f'alerts{{kind="{kind.value}"}} 0.0' in before} == set(
            TroubleKind
        )
        blind = [
            CameraStatus(name, name, SightState.BLIND, "", START, None, None, Fault.SILENT) for name in "ab"
        ]
        for _ in range(15):
            clock.advance(5)
            operations.step(blind, {"a": "10.0.0.1:554", "b": "10.0.0.2:554"})
        after = generate_latest(registry).decode()
    for line in (
        'gridwatch_operations_alerts{kind="connection"} 1.0',
        'gridwatch_operations_troubles{kind="connection"} 2.0',
        'gridwatch_canary_exercises_total{outcome="arrived"} 3.0',
        'gridwatch_canary_exercises_total{outcome="missed"} 1.0',
        "gridwatch_canary_seconds 12.5",
    ):
        assert line in after


def test_without_a_canary_there_are_no_exercises():
    """What is not there has no metric, and what is there is described."""
    registry = CollectorRegistry()
    with Store.open("sqlite://") as store:
        registry.register(OperationsCollector(Operations(store, ManualClock(START)), None))
        names = {metric.name for metric in registry.collect()}
    assert names == {"gridwatch_operations_alerts", "gridwatch_operations_troubles"}
    text = DOCUMENT.read_text("utf-8")
    assert [
        name
        for name in (*names, "gridwatch_canary_exercises", "gridwatch_canary_seconds")
        if name not in text
    ] == []
