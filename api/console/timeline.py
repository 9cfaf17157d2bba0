# SPDX-License-Identifier: AGPL-3.0-or-later
"""An alert's changes as HTML: what happened, when, and who says so. Pure text, all escaped."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from html import escape
from typing import Any, Final

from api.console.moments import clock_time, since
from api.console.texts import TEXTS, Words
from events.journal import Row

_CASE_TYPE: Final = "cn.gridwatch.case."
_DECISION_TYPE: Final = "cn.gridwatch.decision."
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_OF_MAIN: Final = ("detail_still", "detail_clip")  # of a row that names what the main stream shows
_HASH_CHARS: Final = 12
_WORD_CHARS: Final = 40
_DONE: Final = ("handled", "verified")


def timeline_html(rows: Sequence[Row], now: datetime, words: Words, *, older: bool = False) -> str:
    """Return the alert's changes, newest first; `older` says that there are more than these."""
    if not rows:
        return ""
    items = "".join(_row(row, now, words) for row in reversed(rows))
    if older:
        items += f'<li class="gw-older">{escape(words("timeline.older"))}</li>'
    return f'<section class="gw-card"><h2>{escape(words("detail.timeline"))}</h2><ol class="gw-timeline">{items}</ol></section>'


def unmatched_html(rows: Sequence[Row], now: datetime, words: Words) -> str:
    """Return answers of a case system that belong to no alert: who said what, of which incident, and when."""
    return "".join(_unmatched(row, now, words) for row in rows)


def _unmatched(row: Row, now: datetime, words: Words) -> str:
    payload = row.payload or {}
    _, _, name = row.actor.partition(":")
    parts = [name, _answer(payload.get("reply"), words), row.incident_id]
    parts.append(words.phrase(str(payload.get("problem", ""))))
    return (
        f'<div class="gw-trouble gw-unmatched"><b>{escape(words("row.orphan"))}</b>'
        f"<span>{escape(' · '.join(part for part in parts if part))}</span>{since(row.at, now, words)}</div>"
    )


def _row(row: Row, now: datetime, words: Words) -> str:
    kind, _, name = row.actor.partition(":")
    who = words.of("actor", kind) + (f" {name}" if name else "")
    said = " · ".join(_said(row, words))
    return (
        f'<li class="gw-row-kind-{escape(row.kind)}"><time>{clock_time(row.at, now)}</time>'
        f"<div><b>{escape(_happened(row, words))}</b> <span>{said}</span></div>"
        f'<small title="{escape(who)}">{escape(who)} · r{row.revision}</small></li>'
    )


def _happened(row: Row, words: Words) -> str:
    """Return what a row says happened; of an answer of the case system, the step or the decision itself."""
    payload = row.payload or {}
    reply = payload.get("reply")
    if row.kind == "evidence" and payload.get("deleted"):
        return words("row.evidence_deleted")
    if row.kind != "case" or not isinstance(reply, Mapping):
        return words.of("row", row.kind)
    return _answer(reply, words)


def _answer(reply: Any, words: Words) -> str:
    """Return the step or decision that an answer tells; that it is one, where its word is not known."""
    kind = str(reply.get("type", "")) if isinstance(reply, Mapping) else ""
    if kind.startswith(_DECISION_TYPE):
        decision = _data(reply).get("decision")
        known = f"decision.{decision}" in TEXTS
        return (
            words("row.case_decision", decision=words.of("decision", str(decision)))
            if known
            else words("row.case")
        )
    step = kind.removeprefix(_CASE_TYPE).partition(".")[0]
    return words.of("case", step) if f"case.{step}" in TEXTS else words("row.case")


def _said(row: Row, words: Words) -> Iterator[str]:
    """Yield as HTML what a row's payload says that a person wants to read; a payload of another form says nothing."""
    payload = row.payload or {}
    for change in payload.get("changes", ()) if row.kind != "opened" else ():  # there everything is new
        if text := _changed(change, words):
            yield text
    for name in _OF_MAIN:
        if payload.get(name):
            yield _evidence(name, str(payload[name]), words)
    yield from map(escape, _answered(row, words))
    if payload.get("reason"):
        yield escape(_reason(str(payload["reason"]), words))
    if payload.get("note"):
        yield escape(str(payload["note"]))
    if payload.get("flag"):
        yield _flag(str(payload["flag"]), words)
    if payload.get("remark"):
        yield f"<i>{escape(words.of('remark', str(payload['remark'])))}</i>"
    if payload.get("problem"):
        yield escape(words.phrase(str(payload["problem"])))


def _changed(change: Mapping[str, Any], words: Words) -> str:
    field, value = str(change.get("field")), str(change.get("to"))
    if field == "case_id":
        return escape(value)
    if field == "case":
        return escape(words("row.rework")) if value == "dispatched" and change.get("from") in _DONE else ""
    if field in {"still", "clip"}:
        return _evidence(field, value, words)
    return escape(words.of(field, value)) if field == "severity" and change.get("from") is not None else ""


def _evidence(field: str, value: str, words: Words) -> str:
    """Return which evidence is there, with the first digits of the hash that names it."""
    if _SHA256.fullmatch(value):
        return f'{escape(words.of("evidence", field))} <small class="gw-hash" title="{value}">{value[:_HASH_CHARS]}</small>'
    return escape(words.of("clip", value)) if field == "clip" and value == "none" else ""


def _reason(reason: str, words: Words) -> str:
    """Return the text of a reason: a word of ours, a phrase of another room, or somebody's own words."""
    return words.of("reason", reason) if f"reason.{reason}" in TEXTS else words.phrase(reason)


def _flag(flag: str, words: Words) -> str:
    """Return why an answer moved nothing; the words behind a colon are the program's own, for who asks further."""
    word, _, more = flag.partition(":")
    return f'<i title="{escape(more.strip())}">{escape(words.of("flag", word))}</i>'


def _answered(row: Row, words: Words) -> Iterator[str]:
    """Yield what an answer of the case system says beside its step: the word that is not known, the receipt, the unit."""
    payload = row.payload or {}
    reply = payload.get("reply")
    if payload.get("flag") == "unknown" and isinstance(reply, Mapping):
        yield str(reply.get("type", "")).removeprefix(_CASE_TYPE)[:_WORD_CHARS]
    if row.kind == "case" and (outcome := _outcome(reply, words)):
        yield outcome
    if unit := _unit(reply, words):
        yield unit


def _outcome(reply: Any, words: Words) -> str:
    """Return what a receipt says of our message; nothing where it just stored it."""
    outcome = _data(reply).get("outcome")
    if not isinstance(outcome, str) or outcome == "stored" or f"outcome.{outcome}" not in TEXTS:
        return ""
    return words.of("outcome", outcome)


def _unit(reply: Any, words: Words) -> str:
    """Return the unit of an answer of the case system, with its part in the case, if it names one."""
    data = _data(reply)
    unit = data.get("unit")
    if not isinstance(unit, Mapping):
        return ""
    name = next((text for key in ("name", "code") if isinstance(text := unit.get(key), str) and text), "")
    role = data.get("role")
    part = words.of("unit", role) if isinstance(role, str) and f"unit.{role}" in TEXTS else ""
    return f"{part} {name}".strip() if name else ""


def _data(reply: Any) -> Mapping[str, Any]:
    """Return the data of an answer as it was kept; empty where it cannot be read."""
    try:
        data = json.loads(reply["data"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    return data if isinstance(data, Mapping) else {}
