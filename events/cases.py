# SPDX-License-Identifier: AGPL-3.0-or-later
"""How an answer of the case system moves an incident's `case` field. Pure. What may not move it is kept all the same."""

from dataclasses import dataclass, replace
from datetime import datetime

from events.alerts import Alert, CaseState
from events.compose import short
from events.incident import CaseFile, Incident
from events.joining import revised
from events.messages import CaseReply, ReplyData

_S = CaseState
_WAY = (_S.NONE, _S.REPORTED, _S.ACCEPTED, _S.DISPATCHED, _S.SIGNED, _S.HANDLED, _S.VERIFIED, _S.CLOSED)
_OVER = frozenset({_S.CLOSED, _S.REJECTED, _S.VOIDED})
_TEXT_CHARS = 200
_HELPING = "assist"  # 协办: the case stays with its lead unit


@dataclass(frozen=True, slots=True)
class Answered:
    """What an answer did.

    Attributes:
        flag: why the field did not move though the answer wanted it: unknown, late, illegal, other_case, conflict.
        after: the incident then.
        moved: whether `case` changed, which is a revision.
    """

    flag: str | None
    after: Incident
    moved: bool


def answered(incident: Incident, reply: CaseReply, now: datetime) -> Answered:
    """Return what `reply`, a `cn.gridwatch.case.*` answer, does to `incident`."""
    data, alert = reply.data, incident.alert
    if reply.state is None or not isinstance(data, ReplyData):
        return Answered("unknown", incident, moved=False)
    if _belongs_elsewhere(alert, data):
        return Answered("other_case", incident, moved=False)
    same_case = alert.case_id == data.case_id
    if reply.state is _S.REPORTED:
        return _receipt(incident, reply, data, now, same_case=same_case)
    if same_case and data.case_revision is not None and data.case_revision <= incident.case_file.revision:
        return Answered("late", incident, moved=False)
    if not _may_follow(alert.case, reply.state):
        return Answered("illegal", incident, moved=False)
    return _moved(incident, reply, data, now, same_case=same_case)


def _belongs_elsewhere(alert: Alert, data: ReplyData) -> bool:
    """One incident has at most one open case; a second one may follow only when the first is over or not accepted."""
    if data.case_id is None or alert.case_id is None or data.case_id == alert.case_id:
        return False
    return alert.case not in _OVER and alert.case not in (_S.NONE, _S.REPORTED)


def _may_follow(before: CaseState, to: CaseState) -> bool:
    if before in _OVER:
        return to is _S.REOPENED or (to is _S.ACCEPTED and before is not _S.CLOSED)
    if to is _S.REOPENED:
        return False
    if to in (_S.RETURNED, _S.REJECTED, _S.VOIDED) or before in (_S.RETURNED, _S.REOPENED):
        return True
    if to is _S.DISPATCHED:  # again, to another unit, or after a check that failed (返工)
        return True
    return _WAY.index(to) >= _WAY.index(before)


def _receipt(
    incident: Incident, reply: CaseReply, data: ReplyData, now: datetime, *, same_case: bool
) -> Answered:
    """A receipt may come at any time; it moves the field only from `none`."""
    if data.outcome == "conflict":
        return Answered("conflict", incident, moved=False)
    file = incident.case_file
    reported_at = file.reported_at or reply.at or now
    if incident.alert.case is not _S.NONE:
        revision = _highest(file, data) if same_case else file.revision
        file = replace(file, reported_at=reported_at, revision=revision)
        return Answered(None, replace(incident, case_file=file), moved=False)
    noted = replace(incident, case_file=replace(file, reported_at=reported_at))
    return _moved(noted, reply, data, now, same_case=same_case)


def _moved(
    incident: Incident, reply: CaseReply, data: ReplyData, now: datetime, *, same_case: bool
) -> Answered:
    alert, file = incident.alert, incident.case_file
    state = reply.state or alert.case
    alert = replace(alert, case=state, case_id=data.case_id or alert.case_id)
    unit = data.unit if data.role != _HELPING else None
    file = replace(
        file,
        revision=_highest(file, data) if same_case else data.case_revision or 0,
        at=reply.at or now,
        unit_code=_text(unit.code) if unit else file.unit_code,
        unit_name=_text(unit.name) if unit else file.unit_name,
        reason=_text(data.reason),
        note=_text(data.note),
    )
    moved = replace(incident, alert=alert, case_file=file)
    if state is incident.alert.case:  # signed by a second unit: told in the row, no change of the field
        return Answered(None, moved, moved=False)
    return Answered(None, revised(moved, now), moved=True)


def _highest(file: CaseFile, data: ReplyData) -> int:
    return max(file.revision, data.case_revision or 0)


def _text(value: str | None) -> str | None:
    return None if value is None else short(value, _TEXT_CHARS)
