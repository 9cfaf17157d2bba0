# SPDX-License-Identifier: AGPL-3.0-or-later
"""Counts for how long each camera saw, day by day: what an empty list of alerts is worth. Stores nothing itself.

Time is counted on the monotonic clock between two steps, so that a step of the wall clock adds and removes none; the wall
clock says only which day it is. A pause of the whole process is nobody's time: it was not watched over.
"""

from collections.abc import Sequence
from datetime import date, tzinfo
from types import MappingProxyType

from gridwatch.core.camera import CameraStatus, Fault, SightState
from gridwatch.core.clock import Clock
from gridwatch.core.coverage import CameraDay

CADENCE_S = 10.0
"""Detectors need a look every 8 s at the least; the rest is the way through decoder and network."""

_PAUSE_S = 60.0
_DAYS = 8  # that wait to be handed over; older ones are forgotten
_FIELDS = MappingProxyType(
    {
        SightState.SEEING: "seeing_s",
        SightState.DEGRADED: "degraded_s",
        SightState.BLIND: "blind_s",
        SightState.OFF: "off_s",
        SightState.MAINTENANCE: "maintenance_s",
    }
)


class Coverage:
    """The days of all cameras of one shard. For one thread.

    Args:
        zone: in which a day is a day.
        cadence_s: a camera counts as looked at while its last answered look is no older than this. Not the bound of its
            next visit: of a camera that is visited every five minutes nearly nothing is covered, and that is to be seen.
    """

    def __init__(self, clock: Clock, zone: tzinfo, cadence_s: float = CADENCE_S) -> None:
        self._clock, self._zone, self._cadence_s = clock, zone, cadence_s
        self._stepped_mono_s: float | None = None
        self._days: dict[date, dict[str, dict[str, float]]] = {}
        self._fields: dict[str, str] = {}

    def step(self, statuses: Sequence[CameraStatus]) -> None:
        """Count the time since the last step; every second to every ten. Cameras that are not named are forgotten."""
        now_s, now = self._clock.mono_s(), self._clock.now()
        passed_s = 0.0 if self._stepped_mono_s is None else now_s - self._stepped_mono_s
        self._stepped_mono_s = now_s
        if not 0.0 < passed_s <= _PAUSE_S:
            passed_s = 0.0
        today = self._today(now.astimezone(self._zone).date())
        before, self._fields = self._fields, {}
        for status in statuses:
            field = self._fields[status.camera_id] = _field(status)
            counted = today.setdefault(status.camera_id, {})
            counted[field] = counted.get(field, 0.0) + passed_s
            was = before.get(status.camera_id, field)
            if was != field:
                _move(counted, was, field, (now - status.since).total_seconds() - passed_s)
            if _is_looked_at(status, self._cadence_s):
                counted["looked_at_s"] = counted.get("looked_at_s", 0.0) + passed_s

    def take(self) -> list[CameraDay]:
        """Return what came since this was last called, to be added to what is stored: a row a camera and day."""
        days, self._days = self._days, {}
        return [
            CameraDay(camera_id=camera_id, day=day, **counted)
            for day, cameras in days.items()
            for camera_id, counted in cameras.items()
            if any(counted.values())
        ]

    def _today(self, day: date) -> dict[str, dict[str, float]]:
        if day not in self._days:
            self._days[day] = {}
            for old in sorted(self._days)[:-_DAYS]:
                del self._days[old]
        return self._days[day]


def _field(status: CameraStatus) -> str:
    if status.state is SightState.DEGRADED and status.fault is Fault.ELSEWHERE:
        return "elsewhere_s"
    return _FIELDS[status.state]


def _is_looked_at(status: CameraStatus, cadence_s: float) -> bool:
    """Tell whether a look of a camera that sees at all is young enough."""
    can = status.state in {SightState.SEEING, SightState.DEGRADED} and not status.zones_suspended
    return can and status.last_look_age_s is not None and status.last_look_age_s <= cadence_s


def _move(counted: dict[str, float], was: str, field: str, seconds: float) -> None:
    """Count time again that passed before a fault was certain: what was taken for seeing since its last picture was not."""
    seconds = min(max(0.0, seconds), counted.get(was, 0.0))
    counted[was] = counted.get(was, 0.0) - seconds
    counted[field] = counted.get(field, 0.0) + seconds
