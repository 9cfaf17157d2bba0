# SPDX-License-Identifier: AGPL-3.0-or-later
"""A frame given to the network, and why."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from gridwatch.core.frame import Frame


class LookReason(StrEnum):
    """Why a frame is given to the network."""

    PATROL = "patrol"  # idle cadence: looked at whether anything changed or not
    SUSPECT = "suspect"  # something changed
    FOLLOW = "follow"  # an incident is open


@dataclass(frozen=True, slots=True)
class Look:
    """A frame given to the network.

    Attributes:
        at_mono_s: monotonic arrival mapped through pts, seconds; all decisions use it.
        captured_at: wall time of capture, aware UTC; for records only.
        gate: largest block difference of luma that opened the gate (0 to 255); 0 where unknown.
    """

    camera_id: str
    why: LookReason
    at_mono_s: float
    captured_at: datetime
    gate: float
    frame: Frame
