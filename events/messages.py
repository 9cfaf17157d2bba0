# SPDX-License-Identifier: AGPL-3.0-or-later
"""What goes over the case queue, both ways, as `docs/case-queue.md` describes it. Knows no Redis and no SQL."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from events.alerts import DISMISS_SYNONYMS, CaseState, DismissReason, UnitRole
from events.errors import DecodeError
from events.journal import Row, storable
from events.policy import Policy, Push
from events.report import Report
from events.times import local_text, parse_rfc3339

__all__ = [
    "CaseMessage",
    "CaseReply",
    "DecisionData",
    "Policy",
    "Push",
    "ReplyData",
    "message_of",
    "write_schemas",
]

INCIDENT_TYPE = "cn.gridwatch.incident.{}.v1"
CASE_PREFIX, DECISION_TYPE, VERSION_SUFFIX = "cn.gridwatch.case.", "cn.gridwatch.decision.made.v1", ".v1"
REPLY_MAX_BYTES = 64 * 1024
DIALECT = "https://json-schema.org/draft/2020-12/schema"
_ROLES: Mapping[str, UnitRole] = MappingProxyType(
    {"lead": UnitRole.LEAD, "主办": UnitRole.LEAD, "assist": UnitRole.ASSIST, "协办": UnitRole.ASSIST}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseMessage:
    """One revision of an incident as the queue carries it; every resend has the same fields."""

    id: str
    source: str
    type: str
    subject: str
    time: str
    previous: int
    journalepoch: str
    journalseq: int
    journalhash: str
    data: bytes

    def fields(self) -> dict[str, str]:
        """Return the entry's fields, all text."""
        return {
            "specversion": "1.0",
            "id": self.id,
            "source": self.source,
            "type": self.type,
            "subject": self.subject,
            "time": self.time,
            "datacontenttype": "application/json",
            "previous": str(self.previous),
            "journalepoch": self.journalepoch,
            "journalseq": str(self.journalseq),
            "journalhash": self.journalhash,
            "data": self.data.decode(),
        }


def message_of(row: Row) -> CaseMessage:
    """Return the message that a journal row is (its `message_id` is set and its payload is still there)."""
    if row.message_id is None or row.payload is None:
        raise ValueError(f"journal row {row.seq} is no message")
    frozen = row.payload["message"]
    return CaseMessage(
        id=row.message_id,
        source=frozen["source"],
        type=frozen["type"],
        subject=row.incident_id,
        time=local_text(row.at),
        previous=frozen["previous"],
        journalepoch=frozen["epoch"],
        journalseq=row.seq,
        journalhash=row.row_hash,
        data=frozen["data"].encode(),
    )


class _Border(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True)


class UnitData(_Border):
    """Who is to act: an organisation, never a person."""

    code: str = ""
    name: str = ""


class ReplyData(_Border):
    """`data` of a `cn.gridwatch.case.*` reply. Unknown fields are kept."""

    incident_id: str = Field(min_length=1, max_length=64)
    case_id: str | None = Field(default=None, max_length=128)
    case_revision: int | None = Field(
        default=None, ge=1, le=2**53 - 1, description="1, 2, 3 … within the case"
    )
    at: str | None = Field(default=None, description="RFC 3339")
    answers: str | None = Field(default=None, description="the message id it answers")
    outcome: str | None = Field(default=None, description="of reported: stored, duplicate, merged, conflict")
    unit: UnitData | None = None
    role: str | None = Field(default=None, description="of unit: lead (主办) or assist (协办)")
    reason: str | None = None
    note: str | None = None

    @property
    def unit_role(self) -> UnitRole | None:
        """What the unit does in the case; None where that is not said, or in a word that is not known."""
        return _ROLES.get((self.role or "").strip())


class DecisionData(_Border):
    """`data` of a `cn.gridwatch.decision.made` reply: decided on the case system's own screen."""

    incident_id: str = Field(min_length=1, max_length=64)
    decision: str = Field(description="confirmed or dismissed")
    reason: str | None = Field(
        default=None,
        description=f"of dismissed: {', '.join(DismissReason)}, or {', '.join(DISMISS_SYNONYMS)}",
    )
    note: str | None = None
    by: str | None = Field(default=None, description="pseudonymous staff code")
    at: str | None = Field(default=None, description="RFC 3339")


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseReply:
    """One answer of the case system.

    Attributes:
        state: what happened to the case; None for a decision, and for a word that is not known here.
        word: the same as it came.
        at: when, UTC; None where it is missing or unreadable.
        destination: whose messages it answers, as the source of these; None where that is not said.
        raw: the entry's fields as they came; every other text is cleaned so that it can be recorded.
    """

    id: str
    source: str
    type: str
    incident_id: str
    word: str
    state: CaseState | None
    at: datetime | None
    data: ReplyData | DecisionData
    raw: Mapping[str, str]
    destination: str | None = None

    @classmethod
    def parse(cls, fields: Mapping[str, str]) -> "CaseReply":
        """Read an entry, tolerantly: what is missing is None, what is unknown is kept.

        Raises:
            DecodeError: it is no reply; carries the fields.
        """
        text = {name: storable(value) for name, value in fields.items()}
        kind = text.get("type", "")
        if kind != DECISION_TYPE and not kind.startswith(CASE_PREFIX):
            raise DecodeError(f"type {kind[:100]!r} is no reply", fields)
        data = _data(fields, DecisionData if kind == DECISION_TYPE else ReplyData)
        subject = text.get("subject") or data.incident_id
        if subject != data.incident_id:
            raise DecodeError("subject and data name different incidents", fields)
        word = kind.removeprefix(CASE_PREFIX).removesuffix(VERSION_SUFFIX)
        known = kind.endswith(VERSION_SUFFIX) and word in set(CaseState) - {CaseState.NONE}
        return cls(
            id=text.get("id") or "sha256:" + hashlib.sha256(text.get("data", "").encode()).hexdigest(),
            source=text.get("source") or "unknown",
            type=kind,
            incident_id=subject,
            word=word,
            state=CaseState(word) if known else None,
            at=_time(data.at or text.get("time")),
            data=data,
            raw=dict(fields),
            destination=text.get("destination") or None,
        )


def _data(fields: Mapping[str, str], shape: type[ReplyData] | type[DecisionData]) -> ReplyData | DecisionData:
    text = fields.get("data", "")
    if len(text.encode("utf-8", "replace")) > REPLY_MAX_BYTES:
        raise DecodeError(f"data is larger than {REPLY_MAX_BYTES} bytes", fields)
    try:
        document: Any = json.loads(text)
        if isinstance(document, dict):
            document.setdefault("incident_id", fields.get("subject"))
        return shape.model_validate(_storable(document))
    except (ValueError, RecursionError) as error:  # pydantic's ValidationError is a ValueError
        problem = error.errors()[0]["msg"] if isinstance(error, ValidationError) else "not JSON"
        raise DecodeError(f"data cannot be read: {problem}", fields) from error


def _storable(value: Any) -> Any:
    """Clean every text of a JSON value: an escape in it may stand for what no text can hold (a lone surrogate)."""
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, dict):
        return {storable(name): _storable(inner) for name, inner in value.items()}
    return [_storable(inner) for inner in value] if isinstance(value, list) else value


def _time(text: str | None) -> datetime | None:
    """Return the time; None where it is missing, unreadable, or out of any sane range. The raw fields keep its text."""
    try:
        return parse_rfc3339(text) if text else None
    except ValueError:
        return None


def write_schemas(folder: Path) -> list[Path]:
    """Write the JSON Schemas of both directions' `data` into `folder`; return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    both: TypeAdapter[ReplyData | DecisionData] = TypeAdapter(ReplyData | DecisionData)
    reply = {"title": "data of a case reply"} | both.json_schema()
    schemas = {"case-message": Report.model_json_schema(), "case-reply": reply}
    written = []
    for name, schema in schemas.items():
        document = {"$schema": DIALECT} | schema
        file = folder / f"{name}.json"
        file.write_text(json.dumps(document, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
        written.append(file)
    return written
