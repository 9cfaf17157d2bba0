# SPDX-License-Identifier: AGPL-3.0-or-later
"""Makes an incident of the newest message about it, for a store that lost what it knew. Pure.

A report holds what people act on, but not all that the store knew: the boxes, the clean picture's hash, the clip and
what the case system wrote before are taken from the incident as it was backed up, or are missing.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from events.alerts import Activity, Alert, CaseState, ClipRef, Decided, Decision, StillRef
from events.cases import standing_of
from events.categories import category_of, text_of
from events.grids import Grid
from events.incident import CaseFile, Incident, Standing
from events.joining import facts_of
from events.report import Due, Medium, Report
from events.times import parse_rfc3339
from gridwatch.core.camera import Location

_NOTHING_SAID = Standing(revision=0, state=CaseState.NONE)


def adopted(report: Report, before: Incident | None, floor: int) -> Incident:
    """Return the incident that `report` describes.

    Args:
        report: of its newest message.
        before: the incident as it was backed up; None where the backup does not know it.
        floor: the least that its revision becomes; it never becomes less than it is.
    """
    revision = max(floor, before.alert.revision if before else 0)
    alert = _alert(report, before.alert if before else None, revision)
    incident = Incident(
        alert=alert,
        grid=_grid(report) or (before.grid if before else None),
        location=_location(report),
        zones=tuple(report.zones),
        stills=_stills(report, before),
        revised_at=parse_rfc3339(report.queued_at),
        revised_facts={},
        activity_at=parse_rfc3339(report.activity_at),
        decided_revision=report.revision if alert.decided else 0,
        queued_revision=report.revision,
        repeats=report.repeats,
        case_file=_case_file(report, before),
    )
    return replace(incident, revised_facts=facts_of(incident))


def _alert(report: Report, before: Alert | None, revision: int) -> Alert:
    category = category_of(report.kind, report.subtype)
    text = text_of(category, report.camera_name, report.zone_name, report.facts)
    still = _newest_still(report, before)
    return Alert(
        id=report.incident_id,
        revision=revision,
        kind=report.kind,
        subtype=report.subtype,
        category=report.category,
        run_mode=report.run_mode,
        camera_id=report.camera_id,
        camera_name=report.camera_name,
        zone_id=report.zone_id,
        zone_name=report.zone_name,
        grid_id=report.grid_id,
        grid_name=report.grid_name,
        address_text=report.address_text,
        severity=report.severity,
        lane=report.lane,
        dept_hint=report.dept_hint_name,
        activity=report.activity,
        decision=report.decision,
        case=report.case,
        case_id=report.case_id,
        opened_at=before.opened_at if before else parse_rfc3339(report.alerted_at),
        began_at=before.began_at if before else parse_rfc3339(report.first_seen_at),
        last_seen_at=parse_rfc3339(report.last_seen_at),
        ended_at=parse_rfc3339(report.activity_at) if report.activity is Activity.ENDED else None,
        title={"zh": category.zh, "en": category.en},
        text=text | {"zh": report.description},
        confidence=report.confidence,
        facts=report.facts,
        boxes=before.boxes if before and still == before.still else (),
        still=still,
        clip=before.clip if before else ClipRef("none"),
        decided=_decided(report),
        due=_due(report.due),
        handling=before.handling if before and before.case_id == report.case_id else None,
        detail=before.detail if before else None,
    )


def _decided(report: Report) -> Decided | None:
    if report.decision is Decision.PENDING or report.decided_at is None or report.decided_by is None:
        return None
    return Decided(
        parse_rfc3339(report.decided_at),
        report.decided_by,
        report.decision,
        report.decision_reason,
        report.decision_note or "",
    )


def _due(due: Due) -> Mapping[str, datetime]:
    return {name: parse_rfc3339(at) for name, at in due.model_dump().items() if at is not None}


def _grid(report: Report) -> Grid | None:
    if report.grid_id is None:
        return None
    return Grid(
        report.grid_id,
        report.grid_name or "",
        report.division_code,
        report.street_code,
        report.community_code,
        report.grid_version or "",
    )


def _location(report: Report) -> Location | None:
    at = report.location
    return None if at is None else Location(at.lon, at.lat, at.crs, at.kind, at.accuracy_m)


def _stills(report: Report, before: Incident | None) -> tuple[StillRef, ...]:
    known = {still.masked_sha256: still for still in (before.stills if before else ())}
    return tuple(known.get(medium.sha256) or _masked_only(medium) for medium in report.media)


def _newest_still(report: Report, before: Alert | None) -> StillRef | None:
    if not report.media:
        return None
    newest = report.media[-1]
    known = before.still if before else None
    return known if known and known.masked_sha256 == newest.sha256 else _masked_only(newest)


def _masked_only(medium: Medium) -> StillRef:
    """Return a still of which only the masked picture is known: it stands for the clean one too."""
    at = parse_rfc3339(medium.captured_at)
    return StillRef(medium.sha256, medium.sha256, at, medium.w, medium.h)


def _case_file(report: Report, before: Incident | None) -> CaseFile:
    """Return the case's file as far as a report tells it. Answers that are read again bring the rest."""
    same = before is not None and before.alert.case_id == report.case_id
    known = before.case_file if before is not None and same else CaseFile()
    if report.case is CaseState.NONE and report.reported_at is None:
        return known
    at = None if report.case_at is None else parse_rfc3339(report.case_at)
    told: dict[str, Any] = {
        "at": at,
        "reported_at": None if report.reported_at is None else parse_rfc3339(report.reported_at),
        "note": report.case_result,
    }
    if at is not None and not (before is not None and same and before.alert.case is report.case):
        begun = known.base or (standing_of(before) if before and same else _NOTHING_SAID)
        told |= {"told_at": at, "base": begun}
    return replace(known, **told)
