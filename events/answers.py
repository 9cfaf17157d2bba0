# SPDX-License-Identifier: AGPL-3.0-or-later
"""Takes what the case system said: once each, as rows. What is late, unknown or not allowed is kept as it came."""

import hashlib

import structlog

from events import cases, decisions
from events.alerts import CaseState
from events.compose import short
from events.errors import DecodeError, EventsError
from events.incident import Incident
from events.journal import digest, storable
from events.messages import CaseReply, DecisionData, ReplyData
from events.recording import Act, Recording
from events.stores import replies
from events.stores.writing import Entry, Writer
from gridwatch.core.clock import Clock

log = structlog.get_logger()

RECORDED, DUPLICATE, ORPHAN, ILLEGAL = "recorded", "duplicate", "orphan", "illegal"
ELSEWHERE = "elsewhere"  # for another gridwatch that reads the same answers
ID_CHARS, CASE_CHARS = 200, 128
RAW_FIELDS, RAW_CHARS = 32, 16_384
WORDS_CHARS = 500


class Answers:
    """Records answers inside the caller's transaction.

    Args:
        recording: writes the rows.
        clock: wall time of the rows.
        source: this gridwatch, as its messages name it.
    """

    def __init__(self, recording: Recording, clock: Clock, source: str) -> None:
        self._recording, self._clock, self._source = recording, clock, source

    def take(self, tx: Writer, reply: CaseReply) -> str:
        """Record an answer; return recorded, duplicate, orphan or illegal; or elsewhere, for what another gridwatch records."""
        source, reply_id = replies.name_of(reply.source), _bounded(reply.id)
        content, case = _content_hash(reply), _case_of(reply)
        known = replies.content_of(tx, source, reply_id)
        if known is not None and known != content:  # the same name for something else: kept under both
            reply_id = _bounded(f"{reply.id}:{content}")
            if replies.content_of(tx, source, reply_id) is not None:
                return DUPLICATE
        elif known is not None:
            return DUPLICATE
        stored = tx.case_reply_hash(source, *case) if case else None
        if stored == content:
            return DUPLICATE
        incident = tx.incident(reply.incident_id)
        if incident is None and reply.destination not in (None, self._source):
            return ELSEWHERE
        if incident is None:
            seq, outcome = self._orphan(tx, reply.incident_id, f"case:{source}", reply.raw, None), ORPHAN
        else:
            # Another receipt may have the same number: it tells of a message, not of the case.
            repeats = stored is not None and reply.state is not CaseState.REPORTED
            seq, outcome = self._apply(tx, incident, reply, collides=known is not None or repeats)
        tx.note_reply(seq, source, reply_id, content, case if stored is None else None)
        return outcome

    def keep(self, tx: Writer, error: DecodeError, entry_id: str) -> str:
        """Record an entry that is no reply; return orphan, or duplicate."""
        content = digest(_bounded_fields(error.fields))
        reply_id = _bounded(f"{entry_id}:{content}")
        if replies.content_of(tx, replies.UNREADABLE, reply_id) is not None:
            return DUPLICATE
        subject, source = error.fields.get("subject", ""), error.fields.get("source", "unknown")
        seq = self._orphan(tx, subject, f"case:{source}", error.fields, error.problem)
        tx.note_reply(seq, replies.UNREADABLE, reply_id, content, None)
        return ORPHAN

    def _apply(self, tx: Writer, incident: Incident, reply: CaseReply, *, collides: bool) -> tuple[int, str]:
        if collides:
            return self._recording.note(
                tx, incident, incident, "case", self._act(reply, "collision")
            ), ILLEGAL
        if isinstance(reply.data, DecisionData):
            return self._decide(tx, incident, reply, reply.data)
        result = cases.answered(incident, reply, self._clock.now())
        act = self._act(reply, result.flag, result.remark)
        seq = self._recording.note(tx, incident, result.after, "case", act)
        if result.flag == cases.CONFLICT:
            log.error(
                "case_conflict", incident=incident.alert.id, answers=reply.data.answers, source=reply.source
            )
        return seq, RECORDED if result.flag in (None, cases.CONFLICT) else ILLEGAL

    def _decide(
        self, tx: Writer, incident: Incident, reply: CaseReply, data: DecisionData
    ) -> tuple[int, str]:
        now = self._clock.now()
        standing = incident.alert.decided
        try:
            given = decisions.verdict(
                data.decision,
                by=decisions.by_case_system(reply.source, data.by),
                reason=data.reason,
                note=data.note or "",
                seen_revision=None,
            )
            change = decisions.decide(incident, given, now)
        except EventsError as error:
            flag = short(f"illegal: {error}", WORDS_CHARS)
            return self._recording.note(tx, incident, incident, "case", self._act(reply, flag)), ILLEGAL
        if change is not None and standing is not None and reply.at is not None and reply.at < standing.at:
            return self._recording.note(tx, incident, incident, "case", self._act(reply, "late")), ILLEGAL
        if change is None or change.kind is None:
            return self._recording.note(tx, incident, incident, "case", self._act(reply, None)), RECORDED
        return self._recording.note(tx, incident, change.after, change.kind, self._act(reply, None)), RECORDED

    def _act(self, reply: CaseReply, flag: str | None, remark: str | None = None) -> Act:
        told = {"flag": flag, "remark": remark}
        extra = {"reply": _bounded_fields(reply.raw)} | {name: word for name, word in told.items() if word}
        reason, note = reply.data.reason, reply.data.note
        return Act(
            actor=f"case:{reply.source}"[:128],
            at=self._clock.now(),
            reason=None if reason is None else short(reason, WORDS_CHARS),
            note=short(note or "", WORDS_CHARS),
            extra=extra,
        )

    def _orphan(self, tx: Writer, incident_id: str, actor: str, raw: object, problem: str | None) -> int:
        payload: dict[str, object] = {"reply": _bounded_fields(raw)}
        if problem:
            payload["problem"] = short(problem, WORDS_CHARS)
        entry = Entry(
            incident_id=storable(incident_id)[:64],
            revision=0,
            kind="orphan",
            actor=storable(actor)[:128],
            at=self._clock.now(),
            payload=payload,
        )
        seq = tx.append(entry).seq
        replies.put_aside(tx, seq)
        return seq


def _bounded(text: str) -> str:
    """Keep an id that fits; a longer one by its hash, so that two long ones stay two."""
    return text if len(text) <= ID_CHARS else "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def _bounded_fields(raw: object) -> dict[str, str]:
    fields = dict(raw) if isinstance(raw, dict) else {}
    kept = list(fields.items())[:RAW_FIELDS]
    return {storable(str(name))[:ID_CHARS]: storable(str(value))[:RAW_CHARS] for name, value in kept}


def _content_hash(reply: CaseReply) -> str:
    """Hash what a reply says, apart from its own id and the time of its sending."""
    return digest({"type": reply.type, "data": storable(reply.raw.get("data", ""))})


def _case_of(reply: CaseReply) -> tuple[str, int] | None:
    """Return under which name and number no second answer counts: two incidents may be in one case."""
    data = reply.data
    if not isinstance(data, ReplyData) or data.case_id is None or data.case_revision is None:
        return None
    name = f"{reply.incident_id}/{data.case_id}"
    if reply.state is CaseState.REPORTED:  # a receipt may have the number of a step
        name = f"reported:{name}"
    if len(name) > CASE_CHARS:
        name = "sha256:" + hashlib.sha256(name.encode()).hexdigest()
    return name, data.case_revision
