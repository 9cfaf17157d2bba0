# SPDX-License-Identifier: AGPL-3.0-or-later
"""The record of one incident now: the alert that people see, and what the rules must remember beside it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from pydantic import TypeAdapter

from events.alerts import Alert, CaseState, CaseUnit, StillRef, UnitRole
from events.grids import Grid
from gridwatch.core.camera import Location
from gridwatch.core.finding import Fact

STILLS_MAX = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseStep:
    """One answer about a case, as the rules need it while an earlier one is missing.

    Attributes:
        revision: of the case; of an answer that names none, the highest that had come.
        word: what happened; None where that moves nothing (an unknown word, a receipt that tells of a conflict).
        code: with `name` the unit that it names; both empty where it names none.
        role: as it says; None where it does not.
        receipt: whether it tells of a message: then its number may be that of a step which is still to come.
    """

    revision: int
    word: CaseState | None
    at: datetime
    code: str = ""
    name: str = ""
    role: UnitRole | None = None
    reason: str | None = None
    note: str | None = None
    receipt: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a case stands after its answers up to `revision`. `unit_*` is the unit that leads."""

    revision: int
    state: CaseState
    units: tuple[CaseUnit, ...] = ()
    reworks: int = 0
    at: datetime | None = None
    unit_code: str | None = None
    unit_name: str | None = None
    reason: str | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseFile:
    """What the case system said last, beside the state that the alert shows.

    Attributes:
        revision: the highest `case_revision` of the case `alert.case_id` that has come.
        at: when the state last moved, UTC; `reason` and `note` are of that step.
        reported_at: when the first receipt was given, UTC.
        unit_code: with `unit_name` the unit that leads; the others stand in `alert.handling`.
        base: how the case stood before the first answer that is missing; None while none is.
        held: the answers that have come since, in their order; and receipts at the end whose number a step may still take.
        former: earlier cases of this incident, each with the highest revision that had come.
        told_at: of a case that was adopted from a message, when the state that it tells was reached: the answers up to then
            are read again, and `base` and `held` follow them from where the backup stood. None otherwise, and afterwards.
    """

    revision: int = 0
    at: datetime | None = None
    reported_at: datetime | None = None
    unit_code: str | None = None
    unit_name: str | None = None
    reason: str | None = None
    note: str | None = None
    base: Standing | None = None
    held: tuple[CaseStep, ...] = ()
    former: tuple[tuple[str, int], ...] = ()
    told_at: datetime | None = None


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
