# SPDX-License-Identifier: AGPL-3.0-or-later
"""The JSON about cameras' sight and about what keeps them from seeing."""

from collections.abc import Mapping
from datetime import date, datetime
from urllib.parse import quote

from pydantic import Field

from api.shapes import CoverageShape, Shape
from api.shapes import Note as Words
from api.watching import SeenCamera
from events.operations_alert import Member, OperationsAlert
from events.troubles import TroubleKind
from gridwatch.core.camera import Fault, Note, SightState
from gridwatch.core.coverage import CameraDay

MEMBERS_SHOWN = 50


class DayShape(Shape):
    """How long a camera saw on one local day (+08:00), in seconds and in shares."""

    day: date
    seeing_s: float
    degraded_s: float
    blind_s: float
    off_s: float
    maintenance_s: float
    elsewhere_s: float = Field(description="of a dome away from its home picture: not covered, and no fault")
    blind_minutes: float
    looked_at_share: float | None = Field(
        description="share of the time in which it was to see that it was looked at within its cadence"
    )

    @classmethod
    def of(cls, day: CameraDay) -> "DayShape":
        """Build it."""
        taken = [name for name in cls.model_fields if name.endswith("_s")]
        share = day.looked_at_share
        return cls(
            day=day.day,
            **{name: round(getattr(day, name), 1) for name in taken},
            blind_minutes=round(day.blind_s / 60, 1),
            looked_at_share=None if share is None else round(share, 4),
        )


class CameraShape(Shape):
    """What is known of one camera's sight now."""

    camera_id: str
    name: str
    place: str | None = Field(description="what kind of place it watches; null where that is not known here")
    grid_id: str | None
    run_mode: str = Field(description="what its incidents are: actual, exercise or test")
    state: SightState
    fault: Fault | None = Field(description="what is wrong; null while it sees")
    reason: str
    since: datetime
    notes: list[Note] = Field(description="what is said beside the state")
    clock_offset_s: float | None = Field(description="the camera's clock minus ours; null while unknown")
    zones_suspended: bool = Field(description="its picture is not the one that its zones were drawn on")
    last_look_at: datetime | None
    last_look_age_s: float | None
    today: DayShape | None = Field(description="null while nothing of today is stored")
    picture_url: str

    @classmethod
    def of(cls, seen: SeenCamera) -> "CameraShape":
        """Build it."""
        status = seen.status
        own = {"place", "grid_id", "run_mode", "notes", "today", "picture_url"}
        return cls(
            **{name: getattr(status, name) for name in CameraShape.model_fields if name not in own},
            place=seen.place,
            grid_id=seen.grid_id,
            run_mode=seen.run_mode,
            notes=list(status.notes),
            today=DayShape.of(seen.today) if seen.today else None,
            picture_url=f"/api/v1/cameras/{quote(status.camera_id, safe='')}/picture",
        )


class CameraDetailShape(Shape):
    """One camera, and how it saw on its last days."""

    camera: CameraShape
    days: list[DayShape] = Field(description="newest first, at most 31")
    coverage: CoverageShape


class AcceptViewBody(Shape):
    """An operator's word that a camera shows what its zones are drawn on."""

    reason: Words = ""


class CamerasShape(Shape):
    """A page of cameras, in configuration order."""

    items: list[CameraShape]
    next: str | None
    coverage: CoverageShape


class MemberShape(Shape):
    """What is wrong with one camera of an operations alert, or with another part of the system."""

    subject: str = Field(description="a camera's id, or what else it is about")
    name: str
    fault: str
    reason: str
    since: datetime

    @classmethod
    def of(cls, member: Member) -> "MemberShape":
        """Build it."""
        return cls.like(member)


class OperationsAlertShape(Shape):
    """What keeps cameras from seeing, as one alert for who keeps the system running. Never a case."""

    id: str
    kind: TroubleKind
    where: str = Field(
        description="the host, network or recorder; empty where it is several, or this machine"
    )
    title: Mapping[str, str]
    began_at: datetime
    opened_at: datetime
    updated_at: datetime
    ended_at: datetime | None
    count: int = Field(description="how many it is about now")
    most: int = Field(description="how many it was about at once, at most")
    faults: Mapping[str, int] = Field(description="how many have which fault")
    members: list[MemberShape] = Field(
        description="those that began first, at most 50; the last ones once it ended"
    )

    @classmethod
    def of(cls, alert: OperationsAlert) -> "OperationsAlertShape":
        """Build it."""
        return cls(
            id=alert.alert_id,
            kind=alert.kind,
            where=alert.where,
            title=alert.title(),
            began_at=alert.began_at,
            opened_at=alert.opened_at,
            updated_at=alert.updated_at,
            ended_at=alert.ended_at,
            count=alert.count,
            most=alert.most,
            faults=alert.faults(),
            members=[MemberShape.of(member) for member in alert.members[:MEMBERS_SHOWN]],
        )


class OperationsShape(Shape):
    """A page of operations alerts, newest first."""

    items: list[OperationsAlertShape]
    next: str | None
    coverage: CoverageShape
