# SPDX-License-Identifier: AGPL-3.0-or-later
"""Counts for how long each camera saw, day by day: what an empty list of alerts is worth. Stores nothing itself.

Time is counted on the monotonic clock between two steps, so that a step of the wall clock adds and removes none; the wall
clock says only which day it is. A pause of the whole process is nobody's time: it was not watched over.

A fault is certain some time after it began. What was counted better meanwhile is counted again, on whichever day it was,
also where it was handed over already: so what is handed over may be less than nothing. Not from before the wall clock
was set: how long ago a fault began is told by that clock.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, tzinfo
from types import MappingProxyType

from gridwatch.core.camera import CameraStatus, Fault, SightState
from gridwatch.core.clock import Clock
from gridwatch.core.coverage import CameraDay

CADENCE_S = 10.0
"""Detectors need a look every 8 s at the least; the rest is the way through decoder and network."""
BACK_S = 7200.0
"""No more than the last two hours are counted again: longer than the revisit bounds of thousands of cameras."""

_PAUSE_S = 60.0
_SET_S = 1.0  # by which the two clocks differ over one step where the wall clock was set
_DAYS = 8  # that wait to be handed over; older ones are forgotten
_SPELLS = 64  # of a camera that are remembered: of one that takes turns, two a visit
_FIELDS = MappingProxyType(
    {
        SightState.SEEING: "seeing_s",
        SightState.DEGRADED: "degraded_s",
        SightState.BLIND: "blind_s",
        SightState.OFF: "off_s",
        SightState.MAINTENANCE: "maintenance_s",
    }
)
_ELSEWHERE = "elsewhere_s"
# What is certain later is counted again only where it is worse: what was blind stays so, whatever comes after it.
_WORSE = MappingProxyType(
    dict.fromkeys(_FIELDS.values(), 2) | {"seeing_s": 0, "degraded_s": 1, _ELSEWHERE: 1}
)


@dataclass(slots=True)
class _Spell:
    """A stretch of one camera's time that is counted as one thing, on one day; monotonic seconds."""

    day: date
    field: str
    looked_at: bool
    from_mono_s: float
    to_mono_s: float


class Coverage:
    """The days of all cameras of one shard. For one thread.

    Args:
        zone: in which a day is a day.
        cadence_s: a camera counts as looked at while its last answered look is no older than this. Not the bound of its
            next visit: of a camera that is visited every five minutes nearly nothing is covered, and that is to be seen.
    """

    def __init__(self, clock: Clock, zone: tzinfo, cadence_s: float = CADENCE_S) -> None:
        self._clock, self._zone, self._cadence_s = clock, zone, cadence_s
        self._stepped: tuple[float, datetime] | None = None
        self._days: dict[date, dict[str, dict[str, float]]] = {}
        self._spells: dict[str, deque[_Spell]] = {}

    def step(self, statuses: Sequence[CameraStatus]) -> None:
        """Count the time since the last step; every second to every ten. Cameras that are not named are forgotten."""
        now_s, now = self._clock.mono_s(), self._clock.now()
        last_s, last = self._stepped or (now_s, now)
        self._stepped = now_s, now
        passed_s = now_s - last_s
        if not 0.0 < passed_s <= _PAUSE_S:
            last_s = now_s
        today = now.astimezone(self._zone).date()
        was_set = abs((now - last).total_seconds() - passed_s) > _SET_S
        before, self._spells = {} if was_set else self._spells, {}
        for status in statuses:
            spells = before.get(status.camera_id) or deque(maxlen=_SPELLS)
            self._spells[status.camera_id] = spells
            field = _field(status)
            if spells and _WORSE[field] > _WORSE[spells[-1].field]:
                self._count_again(status, spells, now_s - min(BACK_S, _lasted_s(status, now)))
            looked_at = _is_looked_at(status, self._cadence_s)
            self._count(status.camera_id, spells, _Spell(today, field, looked_at, last_s, now_s))

    def take(self) -> list[CameraDay]:
        """Return what came since this was last called, to be added to what is stored: a row a camera and day.

        Seconds are less than nothing where more of what was handed over before is counted as something else now.
        """
        days, self._days = self._days, {}
        return [
            CameraDay(camera_id=camera_id, day=day, **counted)
            for day, cameras in days.items()
            for camera_id, counted in cameras.items()
            if any(counted.values())
        ]

    def _count(self, camera_id: str, spells: deque[_Spell], spell: _Spell) -> None:
        """Count a stretch, and remember it as part of the last one where it is the same."""
        self._add(camera_id, spell, 1)
        last = spells[-1] if spells else None
        if last is None or (last.day, last.field, last.looked_at, last.to_mono_s) != (
            spell.day, spell.field, spell.looked_at, spell.from_mono_s,
        ):  # fmt: skip
            spells.append(spell)
        else:
            last.to_mono_s = spell.to_mono_s

    def _count_again(self, status: CameraStatus, spells: deque[_Spell], from_mono_s: float) -> None:
        """Count what was better since then as what it is now: what was taken for seeing since its last picture was not."""
        field, can_be_looked_at = _field(status), _can_be_looked_at(status)
        again: list[_Spell] = []
        while spells and spells[-1].to_mono_s > from_mono_s:
            last = spells.pop()
            again.append(replace(last, from_mono_s=max(last.from_mono_s, from_mono_s)))
            if last.from_mono_s < from_mono_s:
                spells.append(replace(last, to_mono_s=from_mono_s))
        for spell in reversed(again):
            self._add(status.camera_id, spell, -1)
            spell.field = max(spell.field, field, key=_WORSE.__getitem__)
            spell.looked_at = spell.looked_at and can_be_looked_at
            self._count(status.camera_id, spells, spell)

    def _add(self, camera_id: str, spell: _Spell, sign: int) -> None:
        seconds = sign * (spell.to_mono_s - spell.from_mono_s)
        cameras = self._days.setdefault(spell.day, {})
        if len(self._days) > _DAYS:
            del self._days[min(self._days)]
        counted = cameras.setdefault(camera_id, {})
        counted[spell.field] = counted.get(spell.field, 0.0) + seconds
        if spell.looked_at:
            counted["looked_at_s"] = counted.get("looked_at_s", 0.0) + seconds


def _field(status: CameraStatus) -> str:
    if status.state is SightState.DEGRADED and status.fault is Fault.ELSEWHERE:
        return _ELSEWHERE
    return _FIELDS[status.state]


def _lasted_s(status: CameraStatus, now: datetime) -> float:
    """Return for how long its state has stood, seconds; what it says of a time to come is nothing."""
    return max(0.0, (now - status.since).total_seconds())


def _can_be_looked_at(status: CameraStatus) -> bool:
    return status.state in {SightState.SEEING, SightState.DEGRADED} and not status.zones_suspended


def _is_looked_at(status: CameraStatus, cadence_s: float) -> bool:
    """Tell whether a look of a camera that sees at all is young enough."""
    age_s = status.last_look_age_s
    return _can_be_looked_at(status) and age_s is not None and age_s <= cadence_s
