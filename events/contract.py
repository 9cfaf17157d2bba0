# SPDX-License-Identifier: AGPL-3.0-or-later
"""The contract with the case system as files that programs read: JSON Schemas of both directions, and AsyncAPI over them.

Written from the shapes that encode and decode the messages, so that it cannot say what the code does not do. It holds
no rules: those stand in `docs/case-queue.md`. To write it anew after a change:

    python -c "import pathlib, events.contract as c; c.write_contract(pathlib.Path('docs'))"
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from events.alerts import CaseState
from events.compose import DATA_MAX_BYTES
from events.exchange import PAGE_MAX
from events.messages import (
    CASE_PREFIX,
    DECISION_TYPE,
    DIALECT,
    INCIDENT_TYPE,
    REPLY_MAX_BYTES,
    VERSION_SUFFIX,
    write_schemas,
)

ASYNCAPI: Final = "3.0.0"
CONTRACT_VERSION: Final = "1.0.0"

KINDS: Final[Mapping[str, str]] = {
    "opened": "新警示: opened; not confirmed by anybody yet (待核)",
    "updated": "更新: facts, place, severity or activity changed",
    "confirmed": "核实: an operator confirmed it; only now may a case be opened",
    "dismissed": "撤销: an operator dismissed it; answered with voided, unless the case is over",
    "reopened": "重现: it was seen again within ten minutes after it had ended",
    "ended": "结束: the camera no longer sees it; closes no case",
    "voided": "作废: merged into another incident, which merged_into names",
}
WORDS: Final[Mapping[CaseState, str]] = {
    CaseState.REPORTED: "收到: the receipt of one message, with outcome and case id",
    CaseState.ACCEPTED: "受理 / 立案: a case was opened",
    CaseState.DISPATCHED: "派遣: to one unit; once for each; again for 返工",
    CaseState.SIGNED: "签收: by one unit; once for each",
    CaseState.HANDLED: "办理完毕: the unit has finished",
    CaseState.VERIFIED: "核查通过: checked on the spot",
    CaseState.CLOSED: "结案: over and archived",
    CaseState.RETURNED: "退回: to us for more, or by a unit (退单)",
    CaseState.REJECTED: "不予受理: no case, with the reason",
    CaseState.VOIDED: "作废: withdrawn, with the reason",
    CaseState.REOPENED: "重新打开: after closed, rejected or voided",
}

_ID: Final = {"type": "string", "minLength": 1, "maxLength": 200}
_TIME: Final = {"type": "string", "format": "date-time", "description": "RFC 3339, +08:00, milliseconds"}
_NUMBER: Final = {"type": "string", "pattern": "^[0-9]{1,16}$"}
_DESTINATION: Final[Mapping[str, Any]] = {
    "destination": {
        "type": "string",
        "description": "the source of the messages that it answers, where several gridwatches read one reply stream",
    }
}


def write_contract(docs: Path) -> list[Path]:
    """Write `schemas/*.json` and `asyncapi.yaml` into `docs`; return the files."""
    written = write_schemas(docs / "schemas")
    for name, schema in (("message-entry", message_entry()), ("reply-entry", reply_entry())):
        file = docs / "schemas" / f"{name}.json"
        text = json.dumps({"$schema": DIALECT} | schema, ensure_ascii=False, indent=2)
        file.write_text(text + "\n", encoding="utf-8")
        written.append(file)
    file = docs / "asyncapi.yaml"
    document = json.loads(
        json.dumps(asyncapi())
    )  # parts that are shared would become references of YAML's own
    text = yaml.safe_dump(document, allow_unicode=True, sort_keys=False, width=110)
    file.write_text(text, encoding="utf-8")
    return [*written, file]


def message_entry() -> dict[str, Any]:
    """Return the schema of one entry of the message stream; every value is text."""
    return {
        "title": "an entry of gridwatch:cases, written by gridwatch",
        "description": "The same fields come over HTTP. Entries of other producers in the stream look different.",
        "type": "object",
        "properties": _message_fields() | {"data": _data("the report; case-message.json", DATA_MAX_BYTES)},
        "required": [*_message_fields(), "data"],
        "additionalProperties": False,
    }


def reply_entry() -> dict[str, Any]:
    """Return the schema of one entry of the reply stream as it should be; gridwatch reads more tolerantly."""
    return {
        "title": "an entry of gridwatch:case-replies",
        "type": "object",
        "properties": _reply_fields()
        | dict(_DESTINATION)
        | {"data": _data("case-reply.json", REPLY_MAX_BYTES)},
        "required": [*_reply_fields(), "data"],
        "additionalProperties": True,
    }


def asyncapi() -> dict[str, Any]:
    """Return the AsyncAPI document. Seen from gridwatch: it sends messages and receives replies."""
    messages = {f"incident-{kind}": _incident_message(kind, words) for kind, words in KINDS.items()}
    replies = {f"case-{word.value}": _case_reply(word, words) for word, words in WORDS.items()}
    replies["decision-made"] = _decision()
    return {
        "asyncapi": ASYNCAPI,
        "info": {
            "title": "gridwatch and the case system",
            "version": CONTRACT_VERSION,
            "description": "Incidents go out as messages, the case system's answers come back. "
            "Rules: case-queue.md; the way in: integrate/README.md.",
            "license": {"name": "AGPL-3.0-or-later"},
        },
        "defaultContentType": "application/json",
        "servers": _servers(),
        "channels": {
            "cases": _stream(
                "gridwatch:cases", "What gridwatch says. Other producers write here too.", messages
            ),
            "caseReplies": _stream("gridwatch:case-replies", "What the case system answers.", replies),
            "caseMessagesOverHttp": _door(
                "/api/v1/case-messages", "The same messages, a page at a time.", "page"
            ),
            "caseRepliesOverHttp": _door(
                "/api/v1/case-replies", "The same replies, one or a list.", "posted"
            ),
        },
        "operations": _operations(),
        "components": {
            "messages": messages | replies | _http_messages(),
            "schemas": {
                "messageAttributes": _object(_message_fields()),
                "replyAttributes": _object(_reply_fields(), _DESTINATION),
            },
        },
    }


def _message_fields() -> dict[str, Any]:
    kinds = "|".join(KINDS)
    return {
        "specversion": {"const": "1.0"},
        "id": _ID
        | {"description": "incident:revision; with source unique for ever, the same on every resend"},
        "source": {"type": "string", "pattern": r"^urn:gridwatch:\S{1,64}$"},
        "type": {"type": "string", "pattern": f"^{_quoted(INCIDENT_TYPE.format(f'({kinds})'))}$"},
        "subject": _ID | {"description": "the incident"},
        "time": _TIME,
        "datacontenttype": {"const": "application/json"},
        "previous": _NUMBER
        | {"description": "revision of this incident's message before this one, 0 for the first"},
        "journalepoch": _ID | {"description": "which journal; a restored one is another"},
        "journalseq": _NUMBER | {"description": "the row of the journal that this message is"},
        "journalhash": {"type": "string", "pattern": "^[0-9a-f]{64}$", "description": "that row's hash"},
    }


def _reply_fields() -> dict[str, Any]:
    words = "|".join(word.value for word in WORDS)
    case = _quoted(f"{CASE_PREFIX}({words}){VERSION_SUFFIX}")
    return {
        "specversion": {"const": "1.0"},
        "id": _ID | {"description": "unique within source, the same on every resend"},
        "source": _ID | {"description": "the case system, as in urn:case-system:lucheng"},
        "type": {"type": "string", "pattern": f"^({case}|{_quoted(DECISION_TYPE)})$"},
        "subject": _ID | {"description": "the incident"},
        "time": {"type": "string", "format": "date-time", "description": "RFC 3339"},
        "datacontenttype": {"const": "application/json"},
    }


def _quoted(text: str) -> str:
    return text.replace(".", r"\.")


def _data(what: str, most_bytes: int) -> dict[str, Any]:
    return {
        "type": "string",
        "contentMediaType": "application/json",
        "description": f"JSON, at most {most_bytes} bytes: {what}",
    }


def _object(needed: Mapping[str, Any], optional: Mapping[str, Any] | None = None) -> dict[str, Any]:
    return {"type": "object", "properties": dict(needed) | dict(optional or {}), "required": list(needed)}


def _headers(attributes: str, kind: str) -> dict[str, Any]:
    return {
        "type": "object",
        "allOf": [{"$ref": f"#/components/schemas/{attributes}"}],
        "properties": {"type": {"const": kind}},
    }


def _incident_message(kind: str, words: str) -> dict[str, Any]:
    return {
        "name": f"incident-{kind}",
        "title": words.partition(":")[0],
        "summary": words.partition(": ")[2],
        "contentType": "application/json",
        "headers": _headers("messageAttributes", INCIDENT_TYPE.format(kind)),
        "payload": {"$ref": "./schemas/case-message.json"},
    }


def _case_reply(word: CaseState, words: str) -> dict[str, Any]:
    return {
        "name": f"case-{word.value}",
        "title": words.partition(":")[0],
        "summary": words.partition(": ")[2],
        "contentType": "application/json",
        "headers": _headers("replyAttributes", f"{CASE_PREFIX}{word.value}{VERSION_SUFFIX}"),
        "payload": {"$ref": "./schemas/case-reply.json#/$defs/ReplyData"},
    }


def _decision() -> dict[str, Any]:
    return {
        "name": "decision-made",
        "title": "在案件系统核实或撤销",
        "summary": "confirmed or dismissed on the case system's own screen",
        "contentType": "application/json",
        "headers": _headers("replyAttributes", DECISION_TYPE),
        "payload": {"$ref": "./schemas/case-reply.json#/$defs/DecisionData"},
    }


def _http_messages() -> dict[str, Any]:
    return {
        "page": {
            "name": "page",
            "title": "a page of messages",
            "summary": "items in journal order; next is the after of the next request; epoch is the journal's",
            "payload": {
                "type": "object",
                "properties": {
                    "items": {"type": "array", "items": {"$ref": "./schemas/message-entry.json"}},
                    "next": {"type": "integer", "minimum": 0},
                    "epoch": {"type": "string"},
                },
                "required": ["items", "next", "epoch"],
            },
        },
        "posted": {
            "name": "posted",
            "title": "replies",
            "summary": "one entry, or a list of them in order",
            "payload": {
                "oneOf": [
                    {"$ref": "./schemas/reply-entry.json"},
                    {"type": "array", "items": {"$ref": "./schemas/reply-entry.json"}},
                ]
            },
        },
    }


def _servers() -> dict[str, Any]:
    return {
        "redis": {
            "host": "redis.example:6379",
            "protocol": "redis",
            "description": "Redis 6.2 or later, or Valkey; rediss:// with TLS, users by ACL.",
        },
        "door": {
            "host": "gridwatch.example:8000",
            "protocol": "https",
            "description": "gridwatch's own API, where the case system cannot reach the Redis.",
            "security": [
                {"type": "http", "scheme": "bearer", "description": "a token of the role integrator"}
            ],
        },
    }


def _stream(address: str, words: str, messages: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "address": address,
        "description": f"{words} A Redis stream: the attributes are fields of the entry, the payload its field data.",
        "servers": [{"$ref": "#/servers/redis"}],
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
    }


def _door(address: str, words: str, message: str) -> dict[str, Any]:
    return {
        "address": address,
        "description": words,
        "servers": [{"$ref": "#/servers/door"}],
        "messages": {message: {"$ref": f"#/components/messages/{message}"}},
    }


def _operations() -> dict[str, Any]:
    asked = {
        "type": "object",
        "properties": {
            "after": {"type": "integer", "minimum": 0, "description": "next of the page before; 0 at first"},
            "epoch": {"type": "string", "description": "epoch of the page before; left out at first"},
            "limit": {"type": "integer", "minimum": 1, "maximum": PAGE_MAX},
            "wait_s": {
                "type": "number",
                "minimum": 0,
                "description": "wait so long where there is nothing new",
            },
        },
    }
    return {
        "sendCaseMessages": {"action": "send", "channel": {"$ref": "#/channels/cases"}},
        "receiveCaseReplies": {"action": "receive", "channel": {"$ref": "#/channels/caseReplies"}},
        "serveCaseMessages": {
            "action": "send",
            "channel": {"$ref": "#/channels/caseMessagesOverHttp"},
            "bindings": {"http": {"method": "GET", "query": asked}},
        },
        "takeCaseReplies": {
            "action": "receive",
            "channel": {"$ref": "#/channels/caseRepliesOverHttp"},
            "bindings": {"http": {"method": "POST"}},
        },
    }
