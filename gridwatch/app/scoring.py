# SPDX-License-Identifier: AGPL-3.0-or-later
"""Scores alerts against what really happened. Pure: alerts and truth in, counts out. See docs/evaluation.md.

An alert of the kind opened in [onset − tolerance, end + 10 s] finds the event; one alert finds one event; traffic
matches by subtype; an event with `alert_expected: false` is neither found nor missed and excuses any alert of its kind
in its time; every other alert is false.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from gridwatch.core.proportion import wilson
from gridwatch.core.zone import Kind

AFTER_END_S = 10.0
DEFAULT_TOLERANCE_S = 0.5


@dataclass(frozen=True, slots=True)
class TrueEvent:
    """What happened in one clip. Seconds of media time."""

    kind: Kind
    subtype: str
    onset_s: float
    end_s: float
    expected: bool
    tolerance_s: float = DEFAULT_TOLERANCE_S

    def covers(self, alert: "ClipAlert") -> bool:
        """Tell whether `alert` was opened in this event's time and is of its kind."""
        same = alert.kind is self.kind and (
            not self.expected or self.kind is not Kind.TRAFFIC or alert.subtype == self.subtype
        )
        return same and self.onset_s - self.tolerance_s <= alert.opened_s <= self.end_s + AFTER_END_S


@dataclass(frozen=True, slots=True)
class ClipAlert:
    """One incident that a clip raised. Seconds of media time; `box` is normalised [x0, y0, x1, y1]."""

    file: str
    kind: Kind
    subtype: str
    began_s: float
    opened_s: float
    ended_s: float | None
    box: tuple[float, float, float, float] | None


@dataclass(frozen=True, slots=True)
class ClipScore:
    """What became of one clip's events and alerts."""

    file: str
    duration_s: float
    found: tuple[tuple[TrueEvent, ClipAlert], ...]
    missed: tuple[TrueEvent, ...]
    excused: tuple[ClipAlert, ...]
    false: tuple[ClipAlert, ...]


def score_clip(
    file: str, duration_s: float, events: Sequence[TrueEvent], alerts: Iterable[ClipAlert]
) -> ClipScore:
    """Match the alerts of one clip with its events, in the order of their opening."""
    open_events = sorted((event for event in events if event.expected), key=lambda event: event.onset_s)
    optional = [event for event in events if not event.expected]
    found: list[tuple[TrueEvent, ClipAlert]] = []
    excused: list[ClipAlert] = []
    false: list[ClipAlert] = []
    for alert in sorted(alerts, key=lambda item: item.opened_s):
        event = next((item for item in open_events if item.covers(alert)), None)
        if event is not None:
            open_events.remove(event)
            found.append((event, alert))
        elif any(item.covers(alert) for item in optional):
            excused.append(alert)
        else:
            false.append(alert)
    return ClipScore(file, duration_s, tuple(found), tuple(open_events), tuple(excused), tuple(false))


def rate_upper_bound(count: int, hours: float) -> float | None:
    """Return the one-sided 95 % upper bound of a Poisson rate per hour (exact, by bisection); None for no time."""
    if hours <= 0:
        return None
    low, high = 0.0, 10.0 + 4.0 * count
    for _ in range(60):
        mean = (low + high) / 2
        below = (
            sum(math.exp(-mean + k * math.log(mean) - math.lgamma(k + 1)) for k in range(count + 1))
            if mean
            else 1.0
        )
        low, high = (mean, high) if below > 0.05 else (low, mean)  # noqa: PLR2004  95 %, as named
    return high / hours


def summarise(scores: Sequence[ClipScore]) -> dict[str, Any]:
    """Return the per-kind table of `evaluate --json`."""
    hours = sum(score.duration_s for score in scores) / 3600
    return {kind.value: _kind(kind, scores, hours) for kind in Kind}


def _kind(kind: Kind, scores: Sequence[ClipScore], hours: float) -> dict[str, Any]:
    found = [(event, alert) for score in scores for event, alert in score.found if event.kind is kind]
    missed = sum(event.kind is kind for score in scores for event in score.missed)
    false = sum(alert.kind is kind for score in scores for alert in score.false)
    times = [max(0.0, alert.opened_s - event.onset_s) for event, alert in found]
    return {
        "events": len(found) + missed,
        "found": len(found),
        "found_ci95": wilson(len(found), len(found) + missed),
        "false_alarms": false,
        "camera_hours": round(hours, 4),
        "false_alarms_per_hour_upper95": rate_upper_bound(false, hours),
        "median_time_to_detect_s": round(median(times), 2) if times else None,
    }
