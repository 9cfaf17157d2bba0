# SPDX-License-Identifier: AGPL-3.0-or-later
"""Queries of the relay: what is due as a message and not given up, and the dead letters. Rows come as they are stored.

A row is decoded by who asked, one by one: one that cannot be read must not hide those beside it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, exists, func, insert, select, update

from events.journal import canonical
from events.stores.schema import DEAD_LETTERS, JOURNAL

# What retention deleted is no message any more, and was kept its time.
_MESSAGE = JOURNAL.c.message_id.is_not(None) & JOURNAL.c.payload.is_not(None)


def _due_after(seq: int) -> ColumnElement[bool]:
    given_up = exists().where(DEAD_LETTERS.c.seq == JOURNAL.c.seq)
    return (JOURNAL.c.seq > seq) & _MESSAGE & ~given_up


def _of(source: str) -> ColumnElement[bool]:
    """Of messages of `source`: a payload is canonical JSON, in which only the message itself has this member."""
    return JOURNAL.c.payload.contains(f'"source":{canonical(source).decode()}', autoescape=True)


def due_rows(connection: Connection, seq: int, limit: int) -> list[Mapping[str, Any]]:
    """Return at most `limit` rows after `seq` that are due as messages and were not given up, in order."""
    found = select(JOURNAL).where(_due_after(seq)).order_by(JOURNAL.c.seq).limit(limit)
    return [dict(values) for values in connection.execute(found).mappings()]


def newest_rows(connection: Connection, limit: int) -> list[Mapping[str, Any]]:
    """Return the newest rows that are messages and were not given up, newest first."""
    found = select(JOURNAL).where(_due_after(0)).order_by(JOURNAL.c.seq.desc()).limit(limit)
    return [dict(values) for values in connection.execute(found).mappings()]


def waiting(connection: Connection, seq: int, most: int, source: str = "") -> tuple[int, str | None]:
    """Count the rows that `due_rows` would return, up to `most`, and return when the first was recorded.

    Only those of `source`, where one is named.
    """
    due = _due_after(seq) & _of(source) if source else _due_after(seq)
    first = select(JOURNAL.c.at).where(due).order_by(JOURNAL.c.seq).limit(1)
    at = connection.execute(first).scalar()
    if at is None:
        return 0, None
    counted = select(JOURNAL.c.seq).where(due).limit(most).subquery()
    return connection.execute(select(func.count()).select_from(counted)).scalar() or 0, at


def next_of_others(connection: Connection, seq: int, sources: Sequence[str]) -> Mapping[str, Any] | None:
    """Return the first row after `seq` that is a message of none of `sources`, or None."""
    others = [~_of(source) for source in sources]
    found = select(JOURNAL).where(JOURNAL.c.seq > seq, _MESSAGE, *others).order_by(JOURNAL.c.seq).limit(1)
    values = connection.execute(found).mappings().first()
    return None if values is None else dict(values)


def is_message(connection: Connection, seq: int) -> bool:
    """Tell whether row `seq` is there and was due as a message, given up or not."""
    found = select(JOURNAL.c.message_id).where(JOURNAL.c.seq == seq)
    return connection.execute(found).scalar() is not None


def message_at(connection: Connection, seq: int, source: str) -> int:
    """Return the last row at or before `seq` that is a message of `source`, 0 where there is none."""
    found = select(JOURNAL.c.seq).where(JOURNAL.c.seq <= seq, _MESSAGE, _of(source))
    return connection.execute(found.order_by(JOURNAL.c.seq.desc()).limit(1)).scalar() or 0


def bury(connection: Connection, seq: int, reason: str, at: str) -> bool:
    """Give row `seq` up; tell whether it was not given up before."""
    known = select(DEAD_LETTERS.c.seq).where(DEAD_LETTERS.c.seq == seq)
    if connection.execute(known).first() is not None:
        return False
    connection.execute(insert(DEAD_LETTERS).values(seq=seq, reason=reason, at=at))
    return True


def letters(connection: Connection, after: int, limit: int) -> list[Mapping[str, Any]]:
    """Return at most `limit` dead letters of rows after `after`, in order, with what the journal says of each."""
    columns = (JOURNAL.c.incident_id, JOURNAL.c.revision, JOURNAL.c.message_id)
    joined = DEAD_LETTERS.join(JOURNAL, DEAD_LETTERS.c.seq == JOURNAL.c.seq)
    found = select(DEAD_LETTERS, *columns).select_from(joined).where(DEAD_LETTERS.c.seq > after)
    found = found.order_by(DEAD_LETTERS.c.seq).limit(limit)
    return [dict(values) for values in connection.execute(found).mappings()]


def lying(connection: Connection) -> int:
    """Count the dead letters that were not replayed."""
    found = select(func.count()).select_from(DEAD_LETTERS).where(DEAD_LETTERS.c.replayed_seq.is_(None))
    return connection.execute(found).scalar() or 0


def revision_sent(connection: Connection, incident_id: str) -> int:
    """Return the revision of an incident's newest message that was not given up, 0 where there is none."""
    found = select(func.max(JOURNAL.c.revision)).where(JOURNAL.c.incident_id == incident_id, _due_after(0))
    return connection.execute(found).scalar() or 0


def note_replay(connection: Connection, incident_id: str, replayed_seq: int) -> None:
    """Mark every dead letter of an incident that lies before row `replayed_seq` as replayed by it."""
    own = select(JOURNAL.c.seq).where(JOURNAL.c.incident_id == incident_id)
    lies = DEAD_LETTERS.c.replayed_seq.is_(None) & (DEAD_LETTERS.c.seq < replayed_seq)
    moved = update(DEAD_LETTERS).where(lies, DEAD_LETTERS.c.seq.in_(own)).values(replayed_seq=replayed_seq)
    connection.execute(moved)
