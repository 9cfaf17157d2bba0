# SPDX-License-Identifier: AGPL-3.0-or-later
"""Entries of the two streams as the case desk reads and writes them (`docs/case-queue.md`). No Redis here."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from gridwatch.simulator.case_desk.errors import UnreadableMessage

INCIDENT_TYPE_PREFIX = "cn.gridwatch.incident."
CASE_TYPE_PREFIX = "cn.gridwatch.case."
DECISION_TYPE = "cn.gridwatch.decision.made.v1"
MAX_DATA_BYTES = 64 * 1024
MAX_REVISION = 2**31 - 1
CHINA = timezone(timedelta(hours=8))


@dataclass(frozen=True, slots=True)
class Unit:
    """Who is to act: an organisation, never a person."""

    code: str
    name: str


@dataclass(frozen=True, slots=True)
class Assignment:
    """A unit's part in a case: `role` is `lead` (主办), of whom there is one, or `assist` (协办)."""

    unit: Unit
    role: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentMessage:
    """One revision of an incident, as an entry of the queue carries it.

    Attributes:
        previous: the revision of this incident's last queued message, 0 for the first.
        sha256: of the bytes of `data`, hexadecimal: tells a resend from a conflict.
        data: the report.
    """

    message_id: str
    source: str
    type: str
    incident_id: str
    revision: int
    previous: int
    sha256: str
    data: Mapping[str, Any]

    @property
    def voids(self) -> bool:
        """Whether this revision withdraws the incident: dismissed, or merged into another one."""
        return self.data.get("decision") == "dismissed" or self.type.endswith(".voided.v1")

    @property
    def confirmed(self) -> bool:
        """Whether an operator has confirmed the incident."""
        return not self.voids and self.data.get("decision") == "confirmed"

    @property
    def run_mode(self) -> str:
        """How the sender runs: actual, exercise, test, or something that this desk does not know."""
        return str(self.data.get("run_mode", ""))

    @property
    def title(self) -> str:
        """The short name of what happened, in Chinese."""
        return str(self.data.get("title", ""))

    def lead_unit(self) -> Unit:
        """Return the unit that the report suggests; the command room where it suggests none."""
        name = self.data.get("dept_hint_name") or "综合信息指挥室"
        return Unit(str(self.data.get("dept_hint_code") or ""), str(name))

    def assist_unit(self) -> Unit | None:
        """Return the grid's own workers as the unit that helps; None where the grid is not known."""
        grid_id = self.data.get("grid_id")
        if not grid_id:
            return None
        return Unit(str(grid_id), str(self.data.get("grid_name") or f"网格 {grid_id}"))

    def units(self) -> tuple[Assignment, ...]:
        """Return who is to act, as the report suggests it: one that leads, and perhaps one that helps."""
        helping = self.assist_unit()
        lead = Assignment(self.lead_unit(), "lead")
        return (lead,) if helping is None else (lead, Assignment(helping, "assist"))


def is_incident_message(fields: Mapping[bytes, bytes]) -> bool:
    """Tell whether an entry is an incident message at all: the queue is shared with other producers."""
    return fields.get(b"type", b"").startswith(INCIDENT_TYPE_PREFIX.encode())


def parse_message(fields: Mapping[bytes, bytes]) -> IncidentMessage:
    """Return the message in an entry.

    Raises:
        UnreadableMessage: a field is missing or malformed, or the fields contradict each other.
    """
    raw = _field(fields, "data")
    if len(raw) > MAX_DATA_BYTES:
        raise UnreadableMessage(f"data has {len(raw)} bytes, at most {MAX_DATA_BYTES} are allowed")
    data = _json_object(raw)
    incident_id = _text(fields, "subject")
    revision = data.get("revision")
    if type(revision) is not int or not 1 <= revision <= MAX_REVISION:
        raise UnreadableMessage(f"revision is {revision!r}, not a number from 1 to {MAX_REVISION}")
    message_id = _text(fields, "id")
    if message_id != f"{incident_id}:{revision}" or data.get("incident_id") != incident_id:
        raise UnreadableMessage(f"id {message_id!r}, subject and data name different incidents or revisions")
    previous = _text(fields, "previous")
    if not re.fullmatch(r"[0-9]{1,10}", previous) or int(previous) >= revision:
        raise UnreadableMessage(f"previous is {previous!r}, not a revision before {revision}")
    return IncidentMessage(
        message_id=message_id,
        source=_text(fields, "source"),
        type=_text(fields, "type"),
        incident_id=incident_id,
        revision=revision,
        previous=int(previous),
        sha256=hashlib.sha256(raw).hexdigest(),
        data=data,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One answer about one case; `case_id` with `case_revision` is unique.

    `word` is what happened: reported, accepted, dispatched and so on. `answers` is the message that caused it, or None.
    `number` replaces the reply's usual id, case and case revision, where two replies share these. `destination` is the
    source of the messages that it answers.
    """

    word: str
    incident_id: str
    case_id: str
    case_revision: int
    at: datetime
    answers: str | None = None
    outcome: str | None = None
    unit: Unit | None = None
    role: str | None = None
    reason: str | None = None
    note: str | None = None
    number: str | None = None
    destination: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionMade:
    """A decision made on the desk's own screen; `number` is unique for ever, `by` a pseudonymous staff code."""

    number: str
    incident_id: str
    decision: str
    at: datetime
    by: str | None = None
    reason: str | None = None
    note: str | None = None
    destination: str | None = None


def reply_fields(reply: Reply, source: str) -> dict[str, str]:
    """Return the entry of `gridwatch:case-replies` for a reply of the case system `source`."""
    data: dict[str, Any] = {
        "incident_id": reply.incident_id,
        "case_id": reply.case_id,
        "case_revision": reply.case_revision,
        "at": _local(reply.at),
        "answers": reply.answers,
    }
    if reply.unit is not None:
        data["unit"] = {"code": reply.unit.code, "name": reply.unit.name}
    data |= _given(reply, "outcome", "role", "reason", "note")
    number = reply.number or f"{reply.case_id}:{reply.case_revision}"
    return _entry(number, source, f"{CASE_TYPE_PREFIX}{reply.word}.v1", data) | _given(reply, "destination")


def decision_fields(decision: DecisionMade, source: str) -> dict[str, str]:
    """Return the entry of `gridwatch:case-replies` for a decision made in the case system `source`."""
    data = {
        "incident_id": decision.incident_id,
        "decision": decision.decision,
        "at": _local(decision.at),
    }
    data |= _given(decision, "by", "reason", "note")
    return _entry(decision.number, source, DECISION_TYPE, data) | _given(decision, "destination")


def _entry(number: str, source: str, kind: str, data: Mapping[str, Any]) -> dict[str, str]:
    return {
        "specversion": "1.0",
        "id": number,
        "source": source,
        "type": kind,
        "subject": data["incident_id"],
        "time": data["at"],
        "datacontenttype": "application/json",
        "data": json.dumps(data, ensure_ascii=False, sort_keys=True, separators=(",", ":")),
    }


def _given(said: Reply | DecisionMade, *names: str) -> dict[str, str]:
    return {name: value for name in names if (value := getattr(said, name)) is not None}


def _local(at: datetime) -> str:
    return at.astimezone(CHINA).isoformat(timespec="milliseconds")


def _field(fields: Mapping[bytes, bytes], name: str) -> bytes:
    try:
        return fields[name.encode()]
    except KeyError as error:
        raise UnreadableMessage(f"field {name} is missing") from error


def _text(fields: Mapping[bytes, bytes], name: str) -> str:
    try:
        text = _field(fields, name).decode()
    except UnicodeDecodeError as error:
        raise UnreadableMessage(f"field {name} is not UTF-8") from error
    if not text:
        raise UnreadableMessage(f"field {name} is empty")
    return text


def _json_object(raw: bytes) -> dict[str, Any]:
    try:
        data = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise UnreadableMessage("data is not JSON") from error
    if not isinstance(data, dict):
        raise UnreadableMessage("data is not a JSON object")
    return data
