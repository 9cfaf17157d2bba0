# SPDX-License-Identifier: AGPL-3.0-or-later
"""To which incident a finding belongs, and what that changes. Pure: no store, no clock, no lock.

A new finding joins the incident of the same camera, kind, subtype and run mode whose activity has not ended, whatever its decision;
within ten minutes after the end it reopens that one; later, and always after the case was closed, it makes a new one.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from events.alerts import Activity, Alert, CaseState
from events.categories import category_of, due_of, lane_of, severity_of, text_of
from events.compose import clean_facts, short
from events.incident import Incident
from events.report import NAME_CHARS
from gridwatch.core.finding import Box, Fact, Finding, Stage

REOPENS_WITHIN = timedelta(minutes=10)
REVISES_AFTER = timedelta(seconds=60)
LIVE_EVERY = timedelta(seconds=5)
BOXES_MAX = 200
ZONES_MAX = 32


class Join(StrEnum):
    """What a finding does."""

    NEW = "new"
    GOES_ON = "goes_on"
    REOPENS = "reopens"
    ENDS = "ends"
    HIDES = "hides"  # its zone is not watched any more: nobody knows whether it goes on
    LEAVES = "leaves"  # it ends or hides, but another finding still holds the incident
    NOTHING = "nothing"  # an end, or hiding, of what was never recorded or is so already


@dataclass(frozen=True, slots=True)
class Change:
    """What a finding makes of an incident.

    Attributes:
        kind: of the journal row; None where live facts only were brought up to date.
        after: the incident then, its revision already counted.
    """

    kind: str | None
    after: Incident


def joins(finding: Finding, incident: Incident | None, *, claimed: bool, held_by_others: bool) -> Join:
    """Tell what `finding` does.

    Args:
        finding: the claim.
        incident: the one it holds, else the joinable or latest one of its camera, kind, subtype and run mode; None if
            none.
        claimed: the finding holds `incident` already.
        held_by_others: other findings hold it too.
    """
    if finding.stage in (Stage.ENDED, Stage.UNSEEN):
        return _leaves(finding, incident, held_by_others=held_by_others)
    if incident is None:
        return Join.NEW
    alert = incident.alert
    if alert.case is CaseState.CLOSED and not claimed:
        return Join.NEW
    if alert.activity is not Activity.ENDED:
        return Join.GOES_ON
    ended_at = alert.ended_at or incident.activity_at
    return Join.REOPENS if finding.at - ended_at <= REOPENS_WITHIN else Join.NEW


def _leaves(finding: Finding, incident: Incident | None, *, held_by_others: bool) -> Join:
    activity = None if incident is None else incident.alert.activity
    if finding.stage is Stage.UNSEEN:
        join = Join.HIDES if activity is Activity.ONGOING else Join.NOTHING
    else:
        join = Join.NOTHING if activity in (None, Activity.ENDED) else Join.ENDS
    return Join.LEAVES if held_by_others and join is not Join.NOTHING else join


def goes_on(incident: Incident, finding: Finding, place: str, now: datetime) -> Change | None:
    """Return what a finding that goes on changes; None while it is too early even for live facts."""
    alert = incident.alert
    live = brought_up_to_date(incident, finding, place)
    if alert.activity is Activity.UNSEEN:
        seen = replace(live, alert=replace(live.alert, activity=Activity.ONGOING), activity_at=now)
        return Change("seen", revised(seen, now))
    if live.alert.severity != alert.severity or live.zones != incident.zones:
        return Change("updated", revised(live, now))
    if now - incident.revised_at >= REVISES_AFTER and facts_of(live) != dict(incident.revised_facts):
        return Change("updated", revised(live, now))
    if finding.at - alert.last_seen_at >= LIVE_EVERY:
        return Change(None, live)
    return None


def reopens(incident: Incident, finding: Finding, place: str, now: datetime) -> Change:
    """Return the incident reopened."""
    live = brought_up_to_date(incident, finding, place)
    alert = replace(live.alert, activity=Activity.ONGOING, ended_at=None)
    again = replace(live, alert=alert, activity_at=now, repeats=incident.repeats + 1)
    return Change("reopened", revised(again, now))


def ends(incident: Incident, at: datetime, now: datetime) -> Change:
    """Return the incident ended: looks that saw nothing, at `at`."""
    alert = replace(incident.alert, activity=Activity.ENDED, ended_at=at)
    return Change("ended", revised(replace(incident, alert=alert, activity_at=now), now))


def unseen(incident: Incident, now: datetime) -> Change:
    """Return the incident unseen: the camera cannot tell."""
    alert = replace(incident.alert, activity=Activity.UNSEEN)
    return Change("unseen", revised(replace(incident, alert=alert, activity_at=now), now))


def revised(incident: Incident, now: datetime) -> Incident:
    """Return the incident with its next revision."""
    alert = replace(incident.alert, revision=incident.alert.revision + 1)
    return replace(incident, alert=alert, revised_at=now, revised_facts=facts_of(incident))


def brought_up_to_date(incident: Incident, finding: Finding, place: str) -> Incident:
    """Return the incident with what `finding` says now, of its own zone; no revision by itself."""
    alert = incident.alert
    category = category_of(alert.kind, alert.subtype)
    facts = clean_facts(finding.facts)
    severity = severity_of(category, place, facts, alert.severity)
    confirmed_at = _confirmed_at(alert)
    zones, zone_name = incident.zones, short(finding.zone_name, NAME_CHARS)
    if finding.zone_id not in zones and len(zones) < ZONES_MAX:
        zones = (*zones, finding.zone_id)
    alert = replace(
        alert,
        zone_id=finding.zone_id,
        zone_name=zone_name,
        severity=severity,
        lane=lane_of(category, place, severity),
        facts=facts,
        confidence=share(finding.confidence),
        last_seen_at=max(alert.last_seen_at, finding.at),
        text=text_of(category, alert.camera_name, zone_name, facts),
        due=due_of(severity, alert.opened_at, confirmed_at),
    )
    return replace(incident, alert=alert, zones=zones)


def with_facts(incident: Incident, finding: Finding) -> Incident:
    """Return the incident with the facts of `finding`, which saw nothing any more; nothing else of it is taken.

    An end in another zone than the one shown changes nothing: text, zone and facts stay of one finding.
    """
    if finding.zone_id != incident.alert.zone_id:
        return incident
    return replace(incident, alert=replace(incident.alert, facts=clean_facts(finding.facts)))


def facts_of(incident: Incident) -> Mapping[str, Fact]:
    """Return the facts that a revision carries: the finding's, and the zones."""
    return {**incident.alert.facts, "zones": " ".join(incident.zones)}


def plain_boxes(boxes: tuple[Box, ...]) -> tuple[Box, ...]:
    """Return at most 200 boxes with plain, finite numbers; one without them is left out."""
    plain = (
        Box(float(box.x0), float(box.y0), float(box.x1), float(box.y1), box.label, float(box.confidence))
        for box in boxes[:BOXES_MAX]
    )
    return tuple(box for box in plain if math.isfinite(box.x0 + box.y0 + box.x1 + box.y1 + box.confidence))


def share(confidence: float | None) -> float | None:
    """Return a confidence within 0 to 1, or None where there is no such number."""
    if confidence is None or confidence != confidence:  # noqa: PLR0124  only NaN differs from itself
        return None
    return min(1.0, max(0.0, float(confidence)))


def _confirmed_at(alert: Alert) -> datetime | None:
    decided = alert.decided
    return decided.at if decided is not None and decided.decision == "confirmed" else None
