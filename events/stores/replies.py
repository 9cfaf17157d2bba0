# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is remembered of the case system's answers, so that each counts once, and those that fit nowhere are found again."""

from sqlalchemy import Connection, select

from events.journal import Row
from events.stores.queries import rows
from events.stores.schema import JOURNAL, REPLIES
from events.stores.writing import Writer

# Names of our own. Under the first stands, by its row, every answer that belongs to no incident; under the second, by its
# entry and content, what is no answer.
ASIDE, UNREADABLE = "gridwatch:aside", "unreadable"
_ESCAPE = "="
SOURCE_CHARS = 200


def name_of(source: str) -> str:
    """Return under which name a case system's answers stand: its own, and never one of ours, whatever it calls itself."""
    ours = source in (ASIDE, UNREADABLE) or source.startswith(_ESCAPE)
    return (_ESCAPE + source if ours else source)[:SOURCE_CHARS]


def content_of(tx: Writer, source: str, reply_id: str) -> str | None:
    """Return the content hash of the reply with this id, or None."""
    known = select(REPLIES.c.content_hash).where(REPLIES.c.source == source, REPLIES.c.reply_id == reply_id)
    return tx.connection.execute(known).scalar()


def put_aside(tx: Writer, seq: int) -> None:
    """Remember that the answer of row `seq` belongs to no incident."""
    tx.note_reply(seq, ASIDE, f"{seq:020d}", "", None)


def newest_aside(connection: Connection, limit: int) -> list[Row]:
    """Return the newest rows of answers that belong to no incident, at most `limit`, newest first."""
    numbers = (
        select(REPLIES.c.seq)
        .where(REPLIES.c.source == ASIDE)
        .order_by(REPLIES.c.reply_id.desc())
        .limit(limit)
    )
    return rows(connection, JOURNAL.c.seq.in_(numbers), limit, newest=True)[::-1]
