# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a kind of place presets: what is looked for there, when, and with which limits. What a camera's own line says wins.

Presets watch the whole picture. They are a beginning that lets hundreds of cameras be entered in an hour, not a setting
for good: where lanes, squares or fire lanes are to be told apart, somebody draws zones.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal

from events.times import CHINA
from gridwatch.core.schedule import Schedule
from gridwatch.core.zone import CrowdLimit, Kind, TrafficLimit, Zone

Place = Literal["street", "market", "square", "school_gate", "road", "fast_road", "forest_edge", "yard"]
CRUSH_RISK: Final = "人员密集场所，防拥挤踩踏"  # the safety reason of a preset crowd zone: crowd crush
NOTHING_ENABLED: Final = (
    "nothing is looked for here until `kinds` or `zones` say so: the owner of the place decides"
)


@dataclass(frozen=True, slots=True)
class Preset:
    """What is looked for in the whole picture of one kind of place.

    Attributes:
        chinese: what operators call such a place.
        kinds: what is looked for where a line does not say it; empty: nothing, until the place's owner enables it.
        crowd: persons that may be there and how long more may stay. A count: without a calibrated ground there is no
            density.
        traffic: how long a vehicle may stand. In a whole picture there are places where vehicles may park, so that it
            is longer than in a drawn no-stop zone (180 s), but for roads where nobody may stop.
        crowd_active: when persons are counted, as a schedule is written; empty: always. Fire and smoke have no times.
    """

    chinese: str
    kinds: frozenset[Kind]
    crowd: CrowdLimit = field(default_factory=lambda: CrowdLimit(100, 60.0))
    traffic: TrafficLimit = field(default_factory=lambda: TrafficLimit(600.0))
    crowd_active: tuple[str, ...] = ()


_BURNING = frozenset({Kind.FIRE, Kind.SMOKE})
_PUPILS = ("mon-fri 07:00-08:30 11:30-14:00 16:00-18:30",)  # come, go for lunch and back, and go home

PRESETS: Final[Mapping[Place, Preset]] = MappingProxyType(
    {
        "street": Preset("街道", _BURNING),
        "market": Preset(
            "市场", _BURNING | {Kind.CROWD}, CrowdLimit(80, 120.0), crowd_active=("05:00-21:00",)
        ),
        "square": Preset("广场", _BURNING | {Kind.CROWD}, CrowdLimit(100, 60.0)),
        "school_gate": Preset("校门", frozenset(), CrowdLimit(60, 120.0), crowd_active=_PUPILS),
        "road": Preset("道路", _BURNING | {Kind.TRAFFIC}),
        "fast_road": Preset("快速路", _BURNING | {Kind.TRAFFIC}, traffic=TrafficLimit(20.0)),
        "forest_edge": Preset("林缘", _BURNING),
        "yard": Preset("院落", _BURNING),
    }
)


def preset_zones(
    place: Place,
    kinds: Collection[Kind] | None = None,
    crowd_limit: int | None = None,
    active: Sequence[str] | None = None,
) -> tuple[Zone, ...]:
    """Return the zones of a camera that draws none of its own: the whole picture, once for each sort of limit.

    Args:
        place: what the camera watches.
        kinds: what is looked for, where the camera's line says it.
        crowd_limit: persons that may be there, where the line says it.
        active: when crowds and vehicles are looked for, where the line says it. Fire and smoke always are.
    """
    preset = PRESETS[place]
    wanted = preset.kinds if kinds is None else frozenset(kinds)
    zones = []
    if wanted & _BURNING:
        zones.append(Zone("picture", wanted & _BURNING))
    if Kind.CROWD in wanted:
        zones.append(_crowd_zone(preset, crowd_limit, active))
    if Kind.TRAFFIC in wanted:
        zones.append(
            Zone(
                "traffic",
                frozenset({Kind.TRAFFIC}),
                name=preset.chinese,
                traffic=preset.traffic,
                active=schedule_of(active),
            )
        )
    return tuple(zones)


def schedule_of(lines: Sequence[str] | None) -> Schedule | None:
    """Return what a schedule says, on the city's clock; None: always.

    Raises:
        ValueError: it says no times.
    """
    return Schedule.parse(lines, CHINA) if lines else None


def _crowd_zone(preset: Preset, crowd_limit: int | None, active: Sequence[str] | None) -> Zone:
    return Zone(
        "crowd",
        frozenset({Kind.CROWD}),
        name=preset.chinese,
        purpose=CRUSH_RISK,
        crowd=CrowdLimit(crowd_limit or preset.crowd.limit, preset.crowd.dwell_s),
        active=schedule_of(preset.crowd_active if active is None else active),
    )
