# SPDX-License-Identifier: AGPL-3.0-or-later
"""One detector's claim about one camera over time."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TypeAlias

from gridwatch.core.zone import Kind

Fact: TypeAlias = int | float | str | None


class Stage(StrEnum):
    """Where a claim stands."""

    OPENED = "opened"
    UPDATED = "updated"
    ENDED = "ended"
    UNSEEN = "unseen"  # its zone's schedule is over: nobody looks whether it goes on; it may be updated or ended later


@dataclass(frozen=True, slots=True)
class Box:
    """A box shown as evidence. Normalised picture coordinates; `label` is a class or kind, never a person's name."""

    x0: float
    y0: float
    x1: float
    y1: float
    label: str
    confidence: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One detector's claim: opened once, updated while it lasts, ended once; unseen while its zone is not watched.

    Attributes:
        finding_id: the same for all stages of one claim; unique within one process.
        subtype: fire "flame", smoke "smoke", crowd "count", "density" or "flow", traffic "stopped_vehicle" and so on.
        at: capture time of the look that moved the claim, UTC.
        at_mono_s: the same look in monotonic seconds.
        began_at: when the detector believes it began, UTC.
        confidence: 0 to 1, or None where there is no such number (a count).
        facts: what a person can check: count, dwell_s, looks_in_favour, looks_taken, … (units in the names).
        run_mode: the camera's own when it saw this, "" where it has none; None: whoever records asks what it is now.
    """

    finding_id: str
    camera_id: str
    kind: Kind
    subtype: str
    zone_id: str
    zone_name: str = ""
    stage: Stage
    at: datetime
    at_mono_s: float
    began_at: datetime
    confidence: float | None
    boxes: tuple[Box, ...] = ()
    facts: Mapping[str, Fact] = field(default_factory=dict)
    run_mode: str | None = None
