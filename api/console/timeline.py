# SPDX-License-Identifier: AGPL-3.0-or-later
"""An alert's changes as HTML: what happened, when, and who says so. Pure text, all escaped."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from html import escape
from typing import Any, Final

from api.console.moments import clock_time
from api.console.texts import TEXTS, Words
from events.journal import Row

_CASE_TYPE: Final = "cn.gridwatch.case."
_DECISION_TYPE: Final = "cn.gridwatch.decision."
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_HASH_CHARS: Final = 12


def timeline_html(rows: Sequence[Row], now: datetime, words: Words, *, older: bool = False) -> str:
    """Return the alert's changes, newest first; `older` says that there are more than these."""
    if not rows:
        return ""
    items = "".join(_row(row, now, words) for row in reversed(rows))
    if older:
        items += f'<li class="gw-older">{escape(words("timeline.older"))}</li>'
    return f'<section class="gw-card"><h2>{escape(words("detail.timeline"))}</h2><ol class="gw-timeline">{items}</ol></section>'


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
    reply = (row.payload or {}).get("reply")
    if row.kind != "case" or not isinstance(reply, Mapping):
        return words.of("row", row.kind)
    kind = str(reply.get("type", ""))
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
    if unit := _unit(payload.get("reply")):
        yield escape(unit)
    if payload.get("reason"):
        yield escape(_reason(str(payload["reason"]), words))
    if payload.get("note"):
        yield escape(str(payload["note"]))
    if payload.get("flag"):
        yield _flag(str(payload["flag"]), words)
    if payload.get("problem"):
        yield escape(str(payload["problem"]))


def _changed(change: Mapping[str, Any], words: Words) -> str:
    field, value = str(change.get("field")), str(change.get("to"))
    if field == "case_id":
        return escape(value)
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


def _unit(reply: Any) -> str:
    """Return the unit's name of an answer of the case system, if it names one."""
    unit = _data(reply).get("unit")
    name = unit.get("name") if isinstance(unit, Mapping) else None
    return name if isinstance(name, str) else ""


def _data(reply: Any) -> Mapping[str, Any]:
    """Return the data of an answer as it was kept; empty where it cannot be read."""
    try:
        data = json.loads(reply["data"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    return data if isinstance(data, Mapping) else {}
