# SPDX-License-Identifier: AGPL-3.0-or-later
"""What this installation decided about its incidents: who it is, when they are pushed, how long they are kept."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from events.alerts import Decision
from gridwatch.core.zone import Kind


class Push(StrEnum):
    """When an incident first goes to the case queue."""

    ON_OPEN = "on_open"  # as an unconfirmed item (待核)
    ON_CONFIRM = "on_confirm"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepDays:
    """For how many days evidence is kept, by what was decided about its incident.

    Attributes:
        exercise: of an incident that a test camera made on a machine that works for real, whatever was decided.
    """

    confirmed: int = 90
    pending: int = 90
    dismissed: int = 30  # what was nothing need not be looked at for long
    exercise: int = 7  # there are a hundred a day, all alike

    def of(self, decision: Decision) -> int:
        """Return the days for a decision."""
        return {
            Decision.CONFIRMED: self.confirmed,
            Decision.PENDING: self.pending,
            Decision.DISMISSED: self.dismissed,
        }[decision]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Policy of the incident book.

    Attributes:
        source_id: this gridwatch, 20 digits, type 502 (GB/T 28181); the default serves trials.
        run_mode: actual, exercise or test; only actual may open a real case.
        push: per kind (a `Push` or its word); what is missing is pushed on opening.
        keep_days: how long evidence is kept.
        version: of the program, told in each message's `detector`.
        model_sha256: of the network, told in each message's `detector`; None where it is not known.
        evidence_path: where a masked still is served, without the file's name.
    """

    source_id: str = "51011700005020000001"
    run_mode: str = "actual"
    push: Mapping[Kind, Push | str] = field(default_factory=dict)
    keep_days: KeepDays = field(default_factory=KeepDays)
    version: str = "0.1.0"
    model_sha256: str | None = None
    evidence_path: str = "/api/v1/evidence"

    @property
    def source(self) -> str:
        """The CloudEvents source of this gridwatch."""
        return f"urn:gridwatch:{self.source_id}"

    def push_of(self, kind: Kind) -> Push:
        """Return when incidents of `kind` are pushed."""
        return Push(self.push.get(kind, Push.ON_OPEN))
