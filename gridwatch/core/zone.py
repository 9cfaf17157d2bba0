# SPDX-License-Identifier: AGPL-3.0-or-later
"""An operator's polygon in the picture, for named detectors, with a purpose, its limits and its times."""

from dataclasses import dataclass, field
from enum import StrEnum

from gridwatch.core.geometry import WHOLE_PICTURE, Polygon
from gridwatch.core.schedule import Schedule


class Kind(StrEnum):
    """What a detector claims."""

    FIRE = "fire"
    SMOKE = "smoke"
    CROWD = "crowd"
    TRAFFIC = "traffic"


@dataclass(frozen=True, slots=True)
class CrowdLimit:
    """Persons allowed in a zone, and how long more of them may stay before that is a finding."""

    limit: int = 50
    dwell_s: float = 30.0


@dataclass(frozen=True, slots=True)
class TrafficLimit:
    """How long a vehicle may stand in a zone where it should not (180 s: domain practice for no-stop zones)."""

    stopped_dwell_s: float = 180.0


@dataclass(frozen=True, slots=True)
class Zone:
    """A part of one camera's picture where some detectors work.

    `polygon` is in normalised picture coordinates. `purpose` says why the zone exists (a safety reason);
    crowd zones need one. `active` says when it is watched; None: always.
    """

    zone_id: str
    kinds: frozenset[Kind]
    polygon: Polygon = WHOLE_PICTURE
    name: str = ""
    purpose: str = ""
    crowd: CrowdLimit = field(default_factory=CrowdLimit)
    traffic: TrafficLimit = field(default_factory=TrafficLimit)
    active: Schedule | None = None
