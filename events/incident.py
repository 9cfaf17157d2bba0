# SPDX-License-Identifier: AGPL-3.0-or-later
"""The record of one incident now: the alert that people see, and what the rules must remember beside it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from pydantic import TypeAdapter

from events.alerts import Alert, StillRef
from events.grids import Grid
from gridwatch.core.camera import Location
from gridwatch.core.finding import Fact

STILLS_MAX = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseFile:
    """What the case system said last, beside the state that the alert shows.

    `revision` is the highest `case_revision` of the case `alert.case_id`. The unit is the one that leads; those that
    help stand in the rows of their answers.
    """

    revision: int = 0
    at: datetime | None = None
    reported_at: datetime | None = None
    unit_code: str | None = None
    unit_name: str | None = None
    reason: str | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """One incident now.

    Attributes:
        zones: every zone of the camera that a finding of this incident named, in order of appearance.
        stills: at most three, the first and the latest.
        revised_at: when the latest revision was recorded, UTC.
        revised_facts: the facts (and zones) that it carried.
        activity_at: when `activity` last changed, UTC.
        decided_revision: the revision that the last decision made; 0 while pending.
        queued_revision: the revision of the last message; 0 before the first.
        repeats: how often it was reopened.
    """

    alert: Alert
    grid: Grid | None
    location: Location | None
    zones: tuple[str, ...]
    stills: tuple[StillRef, ...]
    revised_at: datetime
    revised_facts: Mapping[str, Fact]
    activity_at: datetime
    decided_revision: int = 0
    queued_revision: int = 0
    repeats: int = 0
    case_file: CaseFile = field(default_factory=CaseFile)


class IncidentCodec:
    """Turns an incident into JSON text and back; the store's border."""

    def __init__(self) -> None:
        self._adapter = TypeAdapter(Incident)

    def encode(self, incident: Incident) -> str:
        """Return the JSON text of `incident`."""
        return self._adapter.dump_json(incident).decode()

    def decode(self, text: str) -> Incident:
        """Return the incident of a text written by `encode`."""
        return self._adapter.validate_json(text)
