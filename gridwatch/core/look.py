# SPDX-License-Identifier: AGPL-3.0-or-later
"""A frame given to the network, and why."""

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum, StrEnum

from gridwatch.core.frame import Frame


class LookReason(StrEnum):
    """Why a frame is given to the network."""

    PATROL = "patrol"  # idle cadence: looked at whether anything changed or not
    SUSPECT = "suspect"  # something changed
    FOLLOW = "follow"  # something may be happening, or an incident is open: the stream is decoded on


class Interest(IntEnum):
    """How much it is worth to decode a camera's stream picture by picture; the higher comes first."""

    NOTHING = 0
    SUSPECT = 1  # the picture changed, and nothing is known of it yet
    FORMING = 2  # the network saw what may become a claim
    CLAIMED = 3  # a claim is open


@dataclass(frozen=True, slots=True)
class Look:
    """A frame given to the network.

    Attributes:
        at_mono_s: monotonic arrival mapped through pts, seconds; all decisions use it.
        captured_at: wall time of capture, aware UTC; for records and zones' schedules only.
        gate: largest block difference of luma that opened the gate (0 to 255); 0 where unknown.
        at_home: the picture is the one that zones were drawn on; otherwise only the whole picture means anything.
    """

    camera_id: str
    why: LookReason
    at_mono_s: float
    captured_at: datetime
    gate: float
    frame: Frame
    at_home: bool = True
