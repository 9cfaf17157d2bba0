# SPDX-License-Identifier: AGPL-3.0-or-later
"""How an answer of the case system moves an incident's `case` field. Pure. What may not move it is kept all the same.

Answers of one case count in the order of their case revisions, not of their arrival: one that comes late is put in where
it belongs, and the case stands as if all had come in order. `case_steps` says what each step does.

A receipt may have a number of its own, or that of the case as it stands: it holds its number free for a step until the step
after it has come.

A restore adopts a case as a message told it, and the answers that led there are read again: up to then they bring back units,
reworks and revisions, and the state stays as it was told.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import islice
from typing import Final

from events.alerts import CASE_OPEN, CaseState, Handling
from events.case_steps import stepped
from events.compose import short
from events.incident import CaseFile, CaseStep, Incident, Standing
from events.joining import revised
from events.messages import CaseReply, ReplyData

_S = CaseState
HELD_MAX: Final = 16
FORMER_MAX: Final = 4
MISSING_MAX: Final = 8
_TOLD_WITHIN: Final = timedelta(milliseconds=1)  # as exactly as a message tells a time
CONFLICT, MERGED, FILLED_IN = "conflict", "merged", "filled_in"
_TEXT_CHARS: Final = 200


@dataclass(frozen=True, slots=True)
class Answered:
    """What an answer did.

    Attributes:
        flag: why nothing moved though the answer wanted it: unknown, late, illegal, other_case, conflict.
        after: the incident then; with a flag at most what the rules remember and `handling` have changed.
        moved: whether the case changed, which is a revision.
        remark: filled_in where it came late and moved the case all the same; else None.
    """

    flag: str | None
    after: Incident
    moved: bool
    remark: str | None = None


def answered(incident: Incident, reply: CaseReply, now: datetime) -> Answered:
    """Return what `reply`, a `cn.gridwatch.case.*` answer, does to `incident`."""
    data = reply.data
    if not isinstance(data, ReplyData):
        return Answered("unknown", incident, moved=False)
    if _of_former_case(incident, data):
        return Answered("late", incident, moved=False)
    if reply.state is _S.REPORTED:
        flag, after, remark = _receipt(incident, reply, data, now)
    else:
        flag, after, remark = _step(incident, reply, data, now)
    moved = _has_moved(incident, after)
    return Answered(flag, revised(after, now) if moved else after, moved, remark)


_Result = tuple[str | None, Incident, str | None]  # flag, incident then, remark


def _step(incident: Incident, reply: CaseReply, data: ReplyData, now: datetime) -> _Result:
    if _is_other_case(incident, data):
        if _is_history(incident, reply.at or now):
            return None, incident, None
        if incident.alert.case in CASE_OPEN:
            return "other_case", incident, None
        begun = _another_case(incident, data, begins_at=max(0, (data.case_revision or 1) - 1))
        flag, after, remark = _put_in(begun, _step_of(begun, reply, data, now))
        return (flag, incident, None) if flag else (None, after, remark)
    own = _bound(incident, data)
    if data.case_revision is not None and data.case_revision <= _base(own).revision:
        return "late", incident, None
    return _put_in(own, _step_of(own, reply, data, now))


def _receipt(incident: Incident, reply: CaseReply, data: ReplyData, now: datetime) -> _Result:
    """A receipt may come at any time; it moves the field from `none`, or takes the incident into another case."""
    noted = _noted(incident, reply, data, now)
    flag = CONFLICT if data.outcome == CONFLICT else None
    merges = data.outcome == MERGED and data.case_id not in (None, incident.alert.case_id)
    if merges and incident.alert.case is not _S.CLOSED:
        return None, _merged(noted, reply, data, now), None
    if _is_other_case(incident, data):
        return "other_case" if merges else flag, noted, None
    own = _bound(noted, data)
    revision, file = data.case_revision, own.case_file
    repeats = (
        revision is None or revision <= _base(own).revision or any(o.revision == revision for o in file.held)
    )
    if repeats and (own.alert.case is not _S.NONE or flag):  # it tells of a message, not of the case
        return flag, own, None
    step = replace(_step_of(own, reply, data, now), receipt=True)
    if repeats:
        step = replace(step, revision=file.revision)
    _, after, remark = _put_in(own, replace(step, word=None) if flag else step)
    return flag, after, remark


def _merged(incident: Incident, reply: CaseReply, data: ReplyData, now: datetime) -> Incident:
    """Return the incident in a case that is there already, of a person's report or of another incident."""
    after = _another_case(incident, data, begins_at=data.case_revision or 0)
    handling = replace(after.alert.handling or Handling(), merged_into=data.case_id)
    alert = replace(after.alert, case=_S.REPORTED, handling=handling)
    return replace(after, alert=alert, case_file=replace(after.case_file, at=reply.at or now))


def _noted(incident: Incident, reply: CaseReply, data: ReplyData, now: datetime) -> Incident:
    """Return the incident with what every receipt tells: when, and whether our message is the one that they hold."""
    alert, file = incident.alert, incident.case_file
    handling, answers = alert.handling or Handling(), _text(data.answers)
    if data.outcome == CONFLICT:
        handling = replace(handling, conflict=answers or alert.id)
    elif answers is not None and handling.conflict == answers:
        handling = replace(handling, conflict=None)
    file = replace(file, reported_at=file.reported_at or reply.at or now)
    return replace(incident, alert=replace(alert, handling=_told(handling)), case_file=file)


def _put_in(incident: Incident, step: CaseStep) -> _Result:
    """Put a step of the incident's case in where it belongs, and take every step from there on again."""
    if incident.case_file.told_at is not None and not (step.receipt or _is_history(incident, step.at)):
        incident = _caught_up(incident)
    file, base, before = incident.case_file, _base(incident), standing_of(incident)
    steps = sorted((*file.held, step), key=lambda one: (one.revision, one.receipt))
    flag, after = None, base
    for one in steps:
        after, refused = stepped(after, one)
        flag = refused if one is step else flag
    while steps and (_is_settled(base, steps) or len(steps) > HELD_MAX):
        base, _ = stepped(base, steps.pop(0))
    stands = _with(incident, after, base, steps)
    if file.told_at is not None:
        return None if flag == "illegal" else flag, _as_told(incident, stands, base), None
    if step.revision >= file.revision:
        return flag, stands, None
    if _told_of(after) == _told_of(before):
        return flag or "late", stands, None
    return None, stands, FILLED_IN


def _is_history(incident: Incident, at: datetime) -> bool:
    """Tell whether an answer of this time led to what an adopted case was told to be."""
    told_at = incident.case_file.told_at
    return told_at is not None and at < told_at + _TOLD_WITHIN


def _lies_before(at: datetime, file: CaseFile) -> bool:
    """Tell whether a time lies before the one when an adopted case became what it was told to be."""
    return file.told_at is not None and at + _TOLD_WITHIN <= file.told_at


def _as_told(incident: Incident, stands: Incident, base: Standing) -> Incident:
    """Return the incident as it was told until its answers, which make `stands`, have come that far."""
    known, now = incident.case_file, stands.case_file
    if stands.alert.case is incident.alert.case and not (now.at is None or _lies_before(now.at, known)):
        return replace(stands, case_file=replace(now, told_at=None))
    file = replace(now, base=base, told_at=known.told_at, at=known.at, reason=known.reason, note=known.note)
    return replace(stands, alert=replace(stands.alert, case=incident.alert.case), case_file=file)


def _caught_up(incident: Incident) -> Incident:
    """Return an adopted incident whose answers go past what was told: as told, with what those before it brought."""
    file, stands = incident.case_file, _base(incident)
    for one in file.held:
        stands, _ = stepped(stands, one)
    told = replace(stands, state=incident.alert.case, at=file.at, reason=file.reason, note=file.note)
    return _with(replace(incident, case_file=replace(file, told_at=None)), told, told, ())


def _is_settled(base: Standing, steps: Sequence[CaseStep]) -> bool:
    """Tell whether nothing can come any more between `base` and the first of `steps`, or in that one's place."""
    first = steps[0]
    if first.receipt and first.revision > base.revision and all(one.receipt for one in steps):
        return False
    return first.revision <= base.revision + 1


def _with(incident: Incident, now: Standing, base: Standing, held: Sequence[CaseStep]) -> Incident:
    """Return the incident whose case stands as `now`, with what must be remembered while answers are missing."""
    handling = replace(
        incident.alert.handling or Handling(),
        units=now.units,
        reworks=now.reworks,
        missing=_missing(base.revision, held),
    )
    file = replace(
        incident.case_file,
        revision=now.revision,
        at=now.at,
        unit_code=now.unit_code,
        unit_name=now.unit_name,
        reason=now.reason,
        note=now.note,
        base=base if held else None,
        held=tuple(held),
    )
    alert = replace(incident.alert, case=now.state, handling=_told(handling))
    return replace(incident, alert=alert, case_file=file)


def _missing(settled: int, held: Sequence[CaseStep]) -> tuple[int, ...]:
    """Return the first revisions that lie before one that has come and have not come themselves."""
    come = {one.revision for one in held}
    expected = range(settled + 1, max(come, default=0))
    return tuple(islice((revision for revision in expected if revision not in come), MISSING_MAX))


def standing_of(incident: Incident) -> Standing:
    """Return how the incident's case stands now."""
    file, handling = incident.case_file, incident.alert.handling or Handling()
    return Standing(
        revision=file.revision,
        state=incident.alert.case,
        units=handling.units,
        reworks=handling.reworks,
        at=file.at,
        unit_code=file.unit_code,
        unit_name=file.unit_name,
        reason=file.reason,
        note=file.note,
    )


def _base(incident: Incident) -> Standing:
    """Return how the case stood before the first answer that is missing: as now where none is."""
    return incident.case_file.base or standing_of(incident)


def _step_of(incident: Incident, reply: CaseReply, data: ReplyData, now: datetime) -> CaseStep:
    unit = data.unit
    return CaseStep(
        revision=data.case_revision or incident.case_file.revision,
        word=reply.state,
        at=reply.at or now,
        code=short(unit.code.strip(), _TEXT_CHARS) if unit else "",
        name=short(unit.name.strip(), _TEXT_CHARS) if unit else "",
        role=data.unit_role,
        reason=_text(data.reason),
        note=_text(data.note),
    )


def _is_other_case(incident: Incident, data: ReplyData) -> bool:
    return None not in (data.case_id, incident.alert.case_id) and data.case_id != incident.alert.case_id


def _of_former_case(incident: Incident, data: ReplyData) -> bool:
    """Tell whether this is an old answer of a case that the incident has left behind."""
    if not _is_other_case(incident, data):
        return False
    highest = dict(incident.case_file.former).get(data.case_id or "")
    return highest is not None and (data.case_revision is None or data.case_revision <= highest)


def _bound(incident: Incident, data: ReplyData) -> Incident:
    """Return the incident with the case id that an answer tells, where it had none."""
    if data.case_id is None or incident.alert.case_id is not None:
        return incident
    return replace(incident, alert=replace(incident.alert, case_id=data.case_id))


def _another_case(incident: Incident, data: ReplyData, *, begins_at: int) -> Incident:
    """Return the incident with the case that `data` names in place of its own, as if answered up to `begins_at`."""
    alert, file = incident.alert, incident.case_file
    former = file.former
    if alert.case_id is not None:
        former = (*former, (alert.case_id, file.revision))[-FORMER_MAX:]
    conflict = alert.handling.conflict if alert.handling else None
    alert = replace(alert, case_id=data.case_id, handling=_told(Handling(conflict=conflict)))
    begun = CaseFile(revision=begins_at, reported_at=file.reported_at, former=former)
    return replace(incident, alert=alert, case_file=begun)


def _has_moved(before: Incident, after: Incident) -> bool:
    """Tell whether it is another state or another case, which is a revision; the first name of a case is none."""
    old, new = before.alert, after.alert
    return old.case is not new.case or (old.case_id is not None and old.case_id != new.case_id)


def _told_of(standing: Standing) -> tuple[object, ...]:
    return standing.state, standing.units, standing.reworks


def _told(handling: Handling) -> Handling | None:
    return None if handling == Handling() else handling


def _text(value: str | None) -> str | None:
    return None if value is None else short(value, _TEXT_CHARS)
