# SPDX-License-Identifier: AGPL-3.0-or-later
"""A configured stream, and what is known of its sight."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from gridwatch.core.redact import SecretUrl
from gridwatch.core.zone import Kind, Zone


@dataclass(frozen=True, slots=True)
class Location:
    """Where a camera stands. `crs` is WGS84, CGCS2000, GCJ02 or BD09; degrees; `accuracy_m` metres."""

    lon: float
    lat: float
    crs: str = "WGS84"
    kind: str = "camera"
    accuracy_m: float = 30.0


@dataclass(frozen=True, slots=True)
class Camera:
    """A configured stream. `camera_id` is opaque (a 20-digit GB/T 28181 id is usual)."""

    camera_id: str
    name: str
    url: SecretUrl
    zones: tuple[Zone, ...] = ()
    location: Location | None = None
    address_text: str = ""
    place: str = "street"

    def zones_for(self, kind: Kind) -> tuple[Zone, ...]:
        """Return the zones in which `kind` is looked for."""
        return tuple(zone for zone in self.zones if kind in zone.kinds)


class SightState(StrEnum):
    """Whether a camera sees. Silence is never taken for safety: not seeing is a state of its own."""

    SEEING = "seeing"
    DEGRADED = "degraded"
    BLIND = "blind"
    OFF = "off"
    MAINTENANCE = "maintenance"


@dataclass(frozen=True, slots=True)
class CameraStatus:
    """What is known of one camera's sight now.

    Attributes:
        state: see `SightState`.
        reason: why, in one short phrase; empty while it sees.
        since: when the state began, UTC.
        last_look_at: when the last look that the network answered was captured; None if none yet.
        last_look_age_s: its age now, seconds; None if none yet.
    """

    camera_id: str
    name: str
    state: SightState
    reason: str
    since: datetime
    last_look_at: datetime | None
    last_look_age_s: float | None
