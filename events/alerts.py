# SPDX-License-Identifier: AGPL-3.0-or-later
"""An incident as HTTP and people see it: the words of the three fields, and the shape of an alert."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType

from gridwatch.core.finding import Box, Fact
from gridwatch.core.zone import Kind


class Activity(StrEnum):
    """What the machine knows of the happening; nobody else writes it."""

    ONGOING = "ongoing"
    UNSEEN = "unseen"  # the camera cannot tell
    ENDED = "ended"  # looks that saw nothing


class Decision(StrEnum):
    """What an operator decided; never the machine."""

    PENDING = "pending"
    CONFIRMED = "confirmed"
    DISMISSED = "dismissed"


class DismissReason(StrEnum):
    """Why an alert was dismissed."""

    FALSE_ALARM = "false_alarm"  # the note says what it was
    HARMLESS = "harmless"  # true, but no case
    DRILL = "drill"
    DUPLICATE = "duplicate"


DISMISS_SYNONYMS: Mapping[str, DismissReason] = MappingProxyType(
    {
        "误报": DismissReason.FALSE_ALARM,
        "无需处置": DismissReason.HARMLESS,
        "演练": DismissReason.DRILL,
        "重复": DismissReason.DUPLICATE,
    }
)  # as the screen of a case system may say them


class CaseState(StrEnum):
    """What the case system answered last; only it moves this field."""

    NONE = "none"
    REPORTED = "reported"
    ACCEPTED = "accepted"
    DISPATCHED = "dispatched"
    SIGNED = "signed"
    HANDLED = "handled"
    VERIFIED = "verified"
    CLOSED = "closed"
    RETURNED = "returned"
    REJECTED = "rejected"
    VOIDED = "voided"
    REOPENED = "reopened"


CASE_OVER = frozenset({CaseState.CLOSED, CaseState.REJECTED, CaseState.VOIDED})
CASE_OPEN = frozenset(CaseState) - CASE_OVER - {CaseState.NONE, CaseState.REPORTED}  # a receipt opens none


class UnitRole(StrEnum):
    """What a unit does in a case: one leads (主办), others may help (协办)."""

    LEAD = "lead"
    ASSIST = "assist"


class Lane(StrEnum):
    """Who is called: fire (119), police (110, 122), non_police (grid, 12345)."""

    FIRE = "fire"
    POLICE = "police"
    NON_POLICE = "non_police"


@dataclass(frozen=True, slots=True)
class StillRef:
    """A stored picture. `sha256` names the file; `masked` is the one that may leave (persons blurred)."""

    sha256: str
    masked_sha256: str
    captured_at: datetime
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class ClipRef:
    """The clip of an incident.

    Attributes:
        state: pending, ready or none.
        masked_sha256: names the one that may leave, if asked for.
        pre_roll_s: seconds that it shows before the opening; below 0 it begins after it. None where that is not known.
    """

    state: str
    sha256: str | None = None
    masked_sha256: str | None = None
    pre_roll_s: float | None = None


@dataclass(frozen=True, slots=True)
class DetailRef:
    """What the main stream of a camera shows of an incident, where a smaller one is looked at: beside still and clip.

    Attributes:
        still: its first picture after the opening, larger; no box belongs on it. None where there is none.
        clip_sha256: of what it shows from then on, where the usual clip is not from it. None where there is none.
    """

    still: StillRef | None = None
    clip_sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Decided:
    """An operator's decision."""

    at: datetime
    by: str
    decision: Decision
    reason: str | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseUnit:
    """A unit that a case was dispatched to: an organisation, never a person.

    Attributes:
        state: its own last step: dispatched, signed, handled, or returned (it sent the order back).
        at: when, UTC.
    """

    code: str
    name: str
    role: UnitRole
    state: CaseState
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Handling:
    """What the case system tells of an incident's case beside its state. Only its answers move this.

    Attributes:
        units: the one that leads first, then those that help, in order of their dispatch.
        reworks: how often it was dispatched again after it had been handled (返工).
        merged_into: the case of another report that this incident was put into; None where it has one of its own.
        conflict: the message of ours that the case system holds with other content; None where there is none.
        missing: the first of the case's answers that have not come though later ones have, by their case revision.
    """

    units: tuple[CaseUnit, ...] = ()
    reworks: int = 0
    merged_into: str | None = None
    conflict: str | None = None
    missing: tuple[int, ...] = ()

    @property
    def unsigned(self) -> tuple[CaseUnit, ...]:
        """The units that have not signed for their order yet."""
        return tuple(unit for unit in self.units if unit.state is CaseState.DISPATCHED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One incident now. Times are aware UTC; `severity` is 1 (highest) to 4; `boxes` belong on `still`.

    `handling` is None as long as the case system told nothing beside the state, `detail` as long as there is none.
    """

    id: str
    revision: int
    kind: Kind
    subtype: str
    category: str
    run_mode: str
    camera_id: str
    camera_name: str
    zone_id: str
    zone_name: str
    grid_id: str | None
    grid_name: str | None
    address_text: str
    severity: int
    lane: Lane
    dept_hint: str
    activity: Activity
    decision: Decision
    case: CaseState
    case_id: str | None
    opened_at: datetime
    began_at: datetime
    last_seen_at: datetime
    ended_at: datetime | None
    title: Mapping[str, str]  # zh, en
    text: Mapping[str, str]  # zh, en
    confidence: float | None
    facts: Mapping[str, Fact]
    boxes: tuple[Box, ...]
    still: StillRef | None
    clip: ClipRef
    decided: Decided | None
    due: Mapping[str, datetime] = field(default_factory=dict)
    handling: Handling | None = None
    detail: DetailRef | None = None


@dataclass(frozen=True, slots=True)
class AlertFilter:
    """What a list shows; None means any.

    Attributes:
        run_modes: of these only; none means any.
    """

    kind: Kind | None = None
    decision: Decision | None = None
    activity: Activity | None = None
    camera_id: str | None = None
    open_only: bool = False
    run_modes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AlertPage:
    """One page, newest first. `next` is an opaque cursor, or None on the last page."""

    items: tuple[Alert, ...]
    next: str | None
