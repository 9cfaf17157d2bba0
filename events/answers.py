# SPDX-License-Identifier: AGPL-3.0-or-later
"""Takes what the case system said: once each, as rows. What is late, unknown or not allowed is kept as it came."""

import hashlib

from events import cases, decisions
from events.alerts import CaseState
from events.compose import short
from events.errors import DecodeError, EventsError
from events.incident import Incident
from events.journal import canonical, storable
from events.messages import CaseReply, DecisionData, ReplyData
from events.recording import Act, Recording
from events.stores.writing import Entry, Writer
from gridwatch.core.clock import Clock

RECORDED, DUPLICATE, ORPHAN, ILLEGAL = "recorded", "duplicate", "orphan", "illegal"
UNREADABLE = "unreadable"
ID_CHARS = 200
RAW_FIELDS, RAW_CHARS = 32, 16_384
WORDS_CHARS = 500


class Answers:
    """Records answers inside the caller's transaction."""

    def __init__(self, recording: Recording, clock: Clock) -> None:
        self._recording, self._clock = recording, clock

    def take(self, tx: Writer, reply: CaseReply) -> str:
        """Record an answer; return recorded, duplicate, orphan or illegal."""
        source, reply_id = reply.source[:ID_CHARS], _bounded(reply.id)
        content = _content_hash(reply)
        case = _case_of(reply)
        if tx.knows_reply(source, reply_id):
            return DUPLICATE
        stored = tx.case_reply_hash(source, *case) if case else None
        if stored == content:
            return DUPLICATE
        incident = tx.incident(reply.incident_id)
        if incident is None:
            seq, outcome = self._orphan(tx, reply.incident_id, f"case:{source}", reply.raw, None), ORPHAN
        else:
            seq, outcome = self._apply(tx, incident, reply, collides=stored is not None)
        tx.note_reply(seq, source, reply_id, content, case if stored is None else None)
        return outcome

    def keep(self, tx: Writer, error: DecodeError, entry_id: str) -> str:
        """Record an entry that is no reply; return orphan, or duplicate."""
        content = hashlib.sha256(canonical(_bounded_fields(error.fields))).hexdigest()
        reply_id = f"{entry_id}:{content}"
        if tx.knows_reply(UNREADABLE, reply_id):
            return DUPLICATE
        subject, source = error.fields.get("subject", ""), error.fields.get("source", "unknown")
        seq = self._orphan(tx, subject, f"case:{source}", error.fields, error.problem)
        tx.note_reply(seq, UNREADABLE, reply_id, content, None)
        return ORPHAN

    def _apply(self, tx: Writer, incident: Incident, reply: CaseReply, *, collides: bool) -> tuple[int, str]:
        if isinstance(reply.data, DecisionData):
            return self._decide(tx, incident, reply, reply.data)
        now = self._clock.now()
        result = cases.answered(incident, reply, now)
        # A receipt may repeat the case's revision: it tells of a message, not of the case.
        flag = "collision" if collides and reply.state is not CaseState.REPORTED else result.flag
        if flag is not None:
            seq = self._recording.note(tx, incident, incident, "case", self._act(reply, flag))
            return seq, ILLEGAL
        return self._recording.note(tx, incident, result.after, "case", self._act(reply, None)), RECORDED

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

    def _act(self, reply: CaseReply, flag: str | None) -> Act:
        extra = {"reply": _bounded_fields(reply.raw)} | ({"flag": flag} if flag else {})
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
        return tx.append(entry).seq


def _bounded(text: str) -> str:
    """Keep an id that fits; a longer one by its hash, so that two long ones stay two."""
    return text if len(text) <= ID_CHARS else "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def _bounded_fields(raw: object) -> dict[str, str]:
    fields = dict(raw) if isinstance(raw, dict) else {}
    kept = list(fields.items())[:RAW_FIELDS]
    return {storable(str(name))[:ID_CHARS]: storable(str(value))[:RAW_CHARS] for name, value in kept}


def _content_hash(reply: CaseReply) -> str:
    """Hash what a reply says, apart from its own id and the time of its sending."""
    return hashlib.sha256(
        canonical({"type": reply.type, "data": storable(reply.raw.get("data", ""))})
    ).hexdigest()


def _case_of(reply: CaseReply) -> tuple[str, int] | None:
    data = reply.data
    if isinstance(data, ReplyData) and data.case_id is not None and data.case_revision is not None:
        return data.case_id, data.case_revision
    return None
