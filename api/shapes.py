# SPDX-License-Identifier: AGPL-3.0-or-later
"""The JSON of the API (docs: design of the alert), built from the rooms' own types; the only pydantic models here."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from api.access import LINK_MOST_S
from api.operations import Stats
from api.watching import Coverage
from events.alerts import (
    Activity,
    Alert,
    CaseState,
    CaseUnit,
    Decided,
    Decision,
    DetailRef,
    DismissReason,
    Handling,
    UnitRole,
)
from events.grids import Grid
from events.journal import Row
from gridwatch.core.finding import Box, Fact
from gridwatch.core.ports import LeavingClip
from gridwatch.core.zone import Kind

MAX_NOTE_CHARS = 500
Note = Annotated[str, StringConstraints(strip_whitespace=True, max_length=MAX_NOTE_CHARS)]


class Shape(BaseModel):
    """A body. Unknown fields in a request are refused, so that a misspelt one is not silently lost."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @classmethod
    def like(cls, source: object) -> Self:
        """Build it from the attributes of the same names."""
        return cls(**{name: getattr(source, name) for name in cls.model_fields})


class CoverageShape(Shape):
    """The proof beside every list: an empty list means nothing without it."""

    cameras: int = Field(description="configured cameras")
    seeing: int = Field(description="cameras whose looks are answered")
    blind: int = Field(description="cameras that cannot see")
    not_covered: int = Field(
        description="all that are not seeing: blind, degraded, a dome elsewhere, off, in maintenance"
    )
    oldest_look_s: float | None = Field(
        description="age of the oldest last look among the seeing cameras; null where none sees, or one has none yet"
    )

    @classmethod
    def of(cls, coverage: Coverage) -> "CoverageShape":
        """Build it."""
        return cls(
            cameras=coverage.cameras,
            seeing=coverage.seeing,
            blind=coverage.blind,
            not_covered=coverage.not_covered,
            oldest_look_s=coverage.oldest_look_s,
        )


class BoxShape(Shape):
    """A box over the still, in normalised picture coordinates (x right, y down)."""

    x0: float
    y0: float
    x1: float
    y1: float
    label: str
    confidence: float

    @classmethod
    def of(cls, box: Box) -> "BoxShape":
        """Build it."""
        return cls(x0=box.x0, y0=box.y0, x1=box.x1, y1=box.y1, label=box.label, confidence=box.confidence)


class StillShape(Shape):
    """Where the file is, and the SHA-256 of its bytes."""

    url: str
    sha256: str


class ClipShape(Shape):
    """The clip: pending while it is being made, ready, or none; `pre_roll_s` seconds before the opening, below 0: it begins after it."""

    state: str
    url: str | None
    sha256: str | None
    pre_roll_s: float | None


class DetailShape(Shape):
    """What the camera's main stream shows, where a smaller one is looked at; `boxes` belong on neither."""

    still: StillShape | None = Field(description="its first picture after the opening, larger")
    clip: StillShape | None = Field(description="from then on; null where `clip` is from the main stream")

    @classmethod
    def of(cls, alert: Alert, detail: DetailRef) -> "DetailShape":
        """Build it."""
        url = f"/api/v1/alerts/{alert.id}/{{}}?detail=true"
        still, clip = detail.still, detail.clip_sha256
        return cls(
            still=StillShape(url=url.format("still"), sha256=still.sha256) if still else None,
            clip=StillShape(url=url.format("clip"), sha256=clip) if clip else None,
        )


class DecidedShape(Shape):
    """Who decided, when, and why."""

    at: datetime
    by: str
    reason: str | None
    note: str

    @classmethod
    def of(cls, decided: Decided) -> "DecidedShape":
        """Build it."""
        return cls(at=decided.at, by=decided.by, reason=decided.reason, note=decided.note)


class CaseUnitShape(Shape):
    """A unit that the case was dispatched to: an organisation, never a person."""

    code: str
    name: str
    role: UnitRole = Field(description="lead 主办, or assist 协办")
    state: CaseState = Field(description="its own last step: dispatched, signed, handled, returned")
    at: datetime

    @classmethod
    def of(cls, unit: CaseUnit) -> "CaseUnitShape":
        """Build it."""
        return cls.like(unit)


class HandlingShape(Shape):
    """What the case system tells of the case beside its state."""

    units: list[CaseUnitShape] = Field(description="the one that leads first")
    unsigned: list[str] = Field(description="names (or codes) of the units that have not signed yet")
    reworks: int = Field(description="how often it was dispatched again after it had been handled")
    merged_into: str | None = Field(description="the case of another report that this incident was put into")
    conflict: str | None = Field(description="the message that the case system holds with other content")
    missing: list[int] = Field(
        description="case revisions that have not come though later ones have; the first 8"
    )

    @classmethod
    def of(cls, handling: Handling) -> "HandlingShape":
        """Build it."""
        return cls(
            units=[CaseUnitShape.of(unit) for unit in handling.units],
            unsigned=[unit.name or unit.code for unit in handling.unsigned],
            reworks=handling.reworks,
            merged_into=handling.merged_into,
            conflict=handling.conflict,
            missing=list(handling.missing),
        )


class AlertShape(Shape):
    """An incident as HTTP sees it."""

    id: str
    revision: int
    kind: Kind
    subtype: str
    category: str
    run_mode: str
    camera_id: str
    grid_id: str | None
    severity: int = Field(ge=1, le=4, description="1 is the highest")
    activity: Activity
    decision: Decision
    case: CaseState
    case_id: str | None
    opened_at: datetime
    began_at: datetime
    ended_at: datetime | None
    title: Mapping[str, str]
    text: Mapping[str, str]
    facts: Mapping[str, Fact]
    boxes: list[BoxShape]
    still: StillShape | None
    clip: ClipShape
    detail: DetailShape | None = Field(default=None, description="null as long as there is nothing of it")
    decided: DecidedShape | None
    due: Mapping[str, datetime]
    handling: HandlingShape | None = Field(
        description="null as long as the case system told nothing beside the state"
    )

    @classmethod
    def of(cls, alert: Alert) -> "AlertShape":
        """Build it."""
        taken = set(cls.model_fields) - {"boxes", "still", "clip", "detail", "decided", "handling"}
        return cls(
            **{name: getattr(alert, name) for name in taken},
            boxes=[BoxShape.of(box) for box in alert.boxes],
            still=still_of(alert),
            clip=clip_of(alert),
            detail=DetailShape.of(alert, alert.detail) if alert.detail else None,
            decided=DecidedShape.of(alert.decided) if alert.decided else None,
            handling=HandlingShape.of(alert.handling) if alert.handling else None,
        )


def still_of(alert: Alert) -> StillShape | None:
    """Return where an alert's picture is."""
    if alert.still is None:
        return None
    return StillShape(url=f"/api/v1/alerts/{alert.id}/still", sha256=alert.still.sha256)


def clip_of(alert: Alert) -> ClipShape:
    """Return where an alert's clip is, or will be."""
    clip, url = alert.clip, f"/api/v1/alerts/{alert.id}/clip" if alert.clip.state == "ready" else None
    return ClipShape(state=clip.state, url=url, sha256=clip.sha256, pre_roll_s=clip.pre_roll_s)


class RowShape(Shape):
    """One change of an incident, from the journal."""

    seq: int
    revision: int
    kind: str
    actor: str
    at: datetime
    payload: Mapping[str, Any] | None = Field(description="the change; null after retention deleted it")
    payload_hash: str
    prev_hash: str
    row_hash: str
    message_id: str | None

    @classmethod
    def of(cls, row: Row) -> "RowShape":
        """Build it."""
        return cls.like(row)


class GridShape(Shape):
    """One grid."""

    grid_id: str
    name: str
    division_code: str | None
    street_code: str | None
    community_code: str | None
    version: str

    @classmethod
    def of(cls, grid: Grid) -> "GridShape":
        """Build it."""
        return cls.like(grid)


class AlertsShape(Shape):
    """A page of alerts, newest first."""

    items: list[AlertShape]
    next: str | None
    coverage: CoverageShape


class RowsShape(Shape):
    """A page of an incident's changes, oldest first."""

    items: list[RowShape]
    next: str | None
    coverage: CoverageShape


class GridsShape(Shape):
    """A page of grids."""

    items: list[GridShape]
    next: str | None
    coverage: CoverageShape


class BacklogShape(Shape):
    """Messages that the case queue has not taken yet."""

    messages: int
    oldest_s: float


class StatsShape(Shape):
    """Counts of all recorded alerts by each field, and what waits for the case queue."""

    run_mode: str
    coverage: CoverageShape
    by_kind: Mapping[str, int]
    by_activity: Mapping[str, int]
    by_decision: Mapping[str, int]
    by_case: Mapping[str, int]
    backlog: BacklogShape

    @classmethod
    def of(cls, stats: Stats, coverage: Coverage) -> "StatsShape":
        """Build it."""
        taken = set(cls.model_fields) - {"coverage", "backlog"}
        return cls(
            **{name: getattr(stats, name) for name in taken},
            coverage=CoverageShape.of(coverage),
            backlog=BacklogShape(messages=stats.waiting, oldest_s=stats.oldest_waiting_s),
        )


class ConfirmBody(Shape):
    """An operator's confirmation."""

    note: Note = ""


class DismissBody(Shape):
    """An operator's dismissal."""

    reason: DismissReason
    note: Note = ""


class MessagesShape(Shape):
    """A page of case messages, in the order of the journal."""

    items: list[dict[str, str]] = Field(description="the fields of an entry of the case queue, all text")
    next: int = Field(description="`after` of the next call")
    epoch: str = Field(description="the journal that `next` belongs to; send it with `after`")


class OutcomeShape(Shape):
    """What became of one answer."""

    id: str = Field(description="the answer's id, as it came")
    outcome: str = Field(
        description="recorded; duplicate; illegal: kept, but it moved nothing; orphan: kept, its incident is unknown or it "
        "could not be read; elsewhere: another gridwatch records it"
    )


class OutcomesShape(Shape):
    """What became of each answer, in their order."""

    items: list[OutcomeShape]


class EvidenceLinkBody(Shape):
    """A link that is asked for."""

    sha256: str = Field(
        pattern="^[0-9a-f]{64}$", description="of a masked still or clip, as a message's media name it"
    )
    valid_s: int = Field(
        default=3_600, ge=1, le=LINK_MOST_S, description="for how long it opens; never longer than the token"
    )


class EvidenceLinkShape(Shape):
    """A link that opens one masked still or clip to whoever holds it."""

    url: str
    expires_at: datetime


class MaskedClipBody(Shape):
    """A request for the clip that may leave: an empty object."""


class MaskedClipShape(Shape):
    """Where the clip of an alert that may leave stands: ready, pending, busy, failed or none."""

    state: str
    url: str | None
    sha256: str | None
    reason: str

    @classmethod
    def of(cls, clip: LeavingClip) -> "MaskedClipShape":
        """Build it."""
        url = f"/api/v1/evidence/{clip.sha256}.mp4" if clip.sha256 else None
        return cls(state=clip.state, url=url, sha256=clip.sha256, reason=clip.reason)


class HealthShape(Shape):
    """The process answers."""

    status: str
