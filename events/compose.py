# SPDX-License-Identifier: AGPL-3.0-or-later
"""Writes the report of one revision, and freezes its bytes. Never fails for a long text: it shortens."""

import math
import unicodedata
from collections.abc import Mapping
from datetime import datetime, timedelta
from numbers import Integral, Real
from typing import Any

from events.alerts import Alert, Decided, Decision, DismissReason, StillRef
from events.categories import category_of
from events.incident import Incident
from events.journal import canonical
from events.policy import Policy
from events.report import (
    ADDRESS_CHARS,
    DESCRIPTION_CHARS,
    NAME_CHARS,
    SCHEMA_VERSION,
    TITLE_CHARS,
    Detector,
    Due,
    Medium,
    Place,
    Report,
    Truth,
)
from events.times import local_text
from gridwatch.core.finding import Fact

DATA_MAX_BYTES = 64 * 1024
FACTS_MAX = 32
FACT_CHARS = 200
_EXACT_INTEGER = 2**53 - 1  # RFC 8785 keeps integers exact up to here


def short(text: str, limit: int) -> str:
    """Return `text` in NFC with what cannot be encoded replaced, at most `limit` characters, cut with "…"."""
    clean = unicodedata.normalize("NFC", text.encode("utf-8", "replace").decode("utf-8"))
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"


def clean_facts(facts: Mapping[str, Fact]) -> dict[str, Fact]:
    """Return facts that JSON can carry: plain numbers, no NaN, short texts, at most 32."""
    kept = list(facts.items())[:FACTS_MAX]
    return {short(str(name), FACT_CHARS): _clean_fact(value) for name, value in kept}


def _clean_fact(value: object) -> Fact:
    if value is None or isinstance(value, str):
        return None if value is None else short(value, FACT_CHARS)
    if isinstance(value, Integral) and abs(int(value)) <= _EXACT_INTEGER:
        return int(value)
    if isinstance(value, Real):  # numpy's too
        number = float(value)
        return number if math.isfinite(number) else None
    return short(str(value), FACT_CHARS)


def compose(incident: Incident, policy: Policy, queued_at: datetime) -> bytes:
    """Return the frozen bytes of the report (RFC 8785, NFC, at most 64 KB)."""
    document = report(incident, policy, queued_at).model_dump(mode="json")
    data = canonical(document)
    if len(data) > DATA_MAX_BYTES:
        data = canonical(document | {"facts": {}})
    return data


def report(incident: Incident, policy: Policy, queued_at: datetime) -> Report:
    """Return the report of an incident as it stands, recorded at `queued_at`."""
    alert = incident.alert
    retain_until = alert.opened_at + timedelta(days=policy.keep_days.of(alert.decision))
    parts: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "source_id": policy.source_id,
        "incident_id": alert.id,
        "revision": alert.revision,
        "run_mode": alert.run_mode,
        "queued_at": local_text(queued_at),
        "media": [_medium(still, policy, retain_until) for still in incident.stills],
        "detector": _detector(incident, policy),
        "retain_until": local_text(retain_until),
        "group_id": None,
        "merged_into": None,
        "repeats": incident.repeats,
    }
    return Report.model_validate(parts | _what(alert) | _where(incident) | _state(incident))


def _what(alert: Alert) -> dict[str, Any]:
    return {
        "kind": alert.kind,
        "subtype": alert.subtype,
        "category": alert.category,
        "code_standard": None,
        "matter_code": None,
        "title": short(alert.title["zh"], TITLE_CHARS),
        "description": short(alert.text["zh"], DESCRIPTION_CHARS),
        "severity": alert.severity,
        "lane": alert.lane,
        "confidence": alert.confidence,
        "facts": alert.facts,
        "first_seen_at": local_text(alert.began_at),
        "last_seen_at": local_text(alert.last_seen_at),
        "alerted_at": local_text(alert.opened_at),
        "clock_offset_ms": None,
        "dept_hint_code": None,
        "dept_hint_name": short(alert.dept_hint, NAME_CHARS),
        "due": _due(alert.due),
        "overdue": [],
        "purpose": category_of(alert.kind, alert.subtype).purpose,
    }


def _where(incident: Incident) -> dict[str, Any]:
    alert, grid = incident.alert, incident.grid
    return {
        "camera_id": alert.camera_id,
        "camera_name": short(alert.camera_name, NAME_CHARS),
        "zone_id": alert.zone_id,
        "zone_name": short(alert.zone_name, NAME_CHARS),
        "zones": list(incident.zones),
        "division_code": grid.division_code if grid else None,
        "street_code": grid.street_code if grid else None,
        "community_code": grid.community_code if grid else None,
        "grid_id": alert.grid_id,
        "grid_name": alert.grid_name,
        "grid_version": grid.version if grid else None,
        "location": _place(incident),
        "address_text": short(alert.address_text, ADDRESS_CHARS),
    }


def _state(incident: Incident) -> dict[str, Any]:
    alert, file, decided = incident.alert, incident.case_file, incident.alert.decided
    confirmed = decided is not None and decided.decision is Decision.CONFIRMED
    return {
        "activity": alert.activity,
        "activity_at": local_text(incident.activity_at),
        "decision": alert.decision,
        "decided_at": _local(decided.at if decided else None),
        "decided_by": decided.by if decided else None,
        "decision_reason": decided.reason if decided else None,
        "decision_note": decided.note or None if decided else None,
        "operator_id": decided.by if decided and not decided.by.startswith("case:") else None,
        "confirmed_at": _local(decided.at if decided and confirmed else None),
        "truth": _truth(decided),
        "case": alert.case,
        "case_id": alert.case_id,
        "case_at": _local(file.at),
        "case_dept": file.unit_name,
        "case_result": file.note or file.reason,
        "reported_at": _local(file.reported_at),
        "handoff": None,
    }


def _detector(incident: Incident, policy: Policy) -> Detector:
    alert = incident.alert
    rule_id = f"{alert.kind.value}.{alert.subtype}"
    return Detector(
        name=alert.kind.value, version=policy.version, model_sha256=policy.model_sha256, rule_id=rule_id
    )


def _place(incident: Incident) -> Place | None:
    at = incident.location
    if at is None:
        return None
    return Place(lon=at.lon, lat=at.lat, crs=at.crs, kind=at.kind, accuracy_m=at.accuracy_m)


def _medium(still: StillRef, policy: Policy, expires_at: datetime) -> Medium:
    return Medium(
        kind="still",
        uri=f"{policy.evidence_path}/{still.masked_sha256}.jpg",
        sha256=still.masked_sha256,
        captured_at=local_text(still.captured_at),
        w=still.width,
        h=still.height,
        masked=True,
        expires_at=local_text(expires_at),
    )


def _due(due: Mapping[str, datetime]) -> Due:
    return Due(
        review=local_text(due["review"]),
        sign=_local(due.get("sign")),
        handle=_local(due.get("handle")),
        verify=_local(due.get("verify")),
    )


def _truth(decided: Decided | None) -> Truth | None:
    if decided is None or decided.decision is not Decision.DISMISSED:
        return None
    if decided.reason == DismissReason.FALSE_ALARM:
        return "false_alert"
    return "true_event" if decided.reason == DismissReason.HARMLESS else "unclear"


def _local(at: datetime | None) -> str | None:
    return None if at is None else local_text(at)
