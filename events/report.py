# SPDX-License-Identifier: AGPL-3.0-or-later
"""`data` of a case message: a report that a dispatcher can act on. The shape only; `compose` fills it.

Nothing about persons stands here: no name, number, face, plate, age or movement of anybody.
"""

from collections.abc import Mapping
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from events.alerts import Activity, CaseState, Decision, DismissReason, Lane
from gridwatch.core.finding import Fact
from gridwatch.core.zone import Kind

SCHEMA_VERSION: Final = "1.0"
TITLE_CHARS = 30
DESCRIPTION_CHARS = 500
ADDRESS_CHARS = 256
NAME_CHARS = 100

RunMode = Literal["actual", "exercise", "test"]
Truth = Literal["true_event", "false_alert", "unclear"]
LocalTime = Annotated[
    str,
    Field(
        pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+08:00$",
        json_schema_extra={"format": "date-time"},
        description="RFC 3339, +08:00, milliseconds",
    ),
]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Detector(_Part):
    """What saw it."""

    name: str
    version: str
    model_sha256: str | None
    rule_id: str


class Place(_Part):
    """Where it is, as the registry knows it."""

    lon: float = Field(description="degrees")
    lat: float = Field(description="degrees")
    crs: str = Field(description="WGS84, CGCS2000, GCJ02 or BD09, as registered; never converted")
    kind: str = Field(description="camera: the camera's place, not the target's")
    accuracy_m: float


class Medium(_Part):
    """A picture by reference."""

    kind: Literal["still"]
    uri: str
    sha256: Sha256
    captured_at: LocalTime
    w: int
    h: int
    masked: Literal[True] = Field(description="what leaves is masked: persons blurred")
    expires_at: LocalTime


class Due(_Part):
    """Deadlines; null while they do not run. `sign`, `handle` and `verify` run from a confirmation."""

    review: LocalTime
    sign: LocalTime | None
    handle: LocalTime | None
    verify: LocalTime | None


class Report(_Part):
    """One revision of an incident."""

    schema_version: Literal["1.0"]
    source_id: str
    incident_id: str
    revision: int = Field(ge=1)
    run_mode: RunMode = Field(description="only actual opens a real case")
    kind: Kind
    subtype: str
    category: str
    code_standard: str | None = Field(description="standard of matter_code; filled per city")
    matter_code: str | None = Field(max_length=11)
    title: str = Field(max_length=TITLE_CHARS)
    description: str = Field(max_length=DESCRIPTION_CHARS)
    severity: int = Field(ge=1, le=4, description="1 is the highest")
    lane: Lane
    confidence: float | None = Field(ge=0, le=1)
    facts: Mapping[str, Fact] = Field(description="what a person can check; units in the names")
    detector: Detector
    first_seen_at: LocalTime
    last_seen_at: LocalTime
    alerted_at: LocalTime
    queued_at: LocalTime
    confirmed_at: LocalTime | None
    reported_at: LocalTime | None
    clock_offset_ms: int | None = Field(description="the camera's clock against ours; null: not measured")
    camera_id: str
    camera_name: str
    zone_id: str
    zone_name: str
    zones: list[str] = Field(
        default_factory=list, max_length=32, description="every zone_id so far; zone_id is the one described"
    )
    division_code: str | None
    street_code: str | None
    community_code: str | None
    grid_id: str | None
    grid_name: str | None
    grid_version: str | None
    location: Place | None
    address_text: str = Field(max_length=ADDRESS_CHARS)
    media: list[Medium] = Field(max_length=3)
    group_id: str | None
    merged_into: str | None
    repeats: int = Field(ge=0, description="how often it was reopened")
    activity: Activity
    activity_at: LocalTime
    decision: Decision
    decided_at: LocalTime | None
    decided_by: str | None
    decision_reason: DismissReason | str | None
    decision_note: str | None
    operator_id: str | None = Field(description="pseudonymous staff code of who decided here")
    case: CaseState
    case_id: str | None
    case_at: LocalTime | None
    case_dept: str | None
    case_result: str | None
    handoff: None = Field(description="a call to 119, 110, 122 or 12345; not recorded yet")
    dept_hint_code: str | None = Field(max_length=18)
    dept_hint_name: str = Field(
        max_length=NAME_CHARS, description="usually responsible; the dispatcher decides"
    )
    due: Due
    overdue: list[str]
    truth: Truth | None
    purpose: str
    retain_until: LocalTime
