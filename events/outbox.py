# SPDX-License-Identifier: AGPL-3.0-or-later
"""The journal as who sends it sees it: what is due, in order, and what was given up. Knows no queue.

There is no flag "sent" here: that stands in the queue's mark (docs/adr/0003). Only what can never be sent is noted.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from events.journal import Epoch, Row
from events.messages import CaseMessage, message_of
from events.stores import letters, queries
from events.stores.sql import Store
from events.times import parse_utc, utc_text
from gridwatch.core.clock import Clock

NEWEST_TRIED = 50  # rows from the journal's end that are tried for one that can be read
SOURCES_MOST = 32
WAITING_MOST = 100_000  # messages that are counted: a metric is asked for every few seconds


@dataclass(frozen=True, slots=True)
class Spoiled:
    """A row that is due as a message, and from which none can be made."""

    seq: int
    reason: str


class Outbox:
    """Reads what is due and notes what is given up. Safe for several threads; every method may raise `StoreError`."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store, self._clock = store, clock

    @property
    def epoch(self) -> str:
        """The store's epoch."""
        return self._store.epoch

    def epochs(self) -> Sequence[Epoch]:
        """Return the epochs of this store, oldest first."""
        with self._store.read() as connection:
            return queries.epochs(connection)

    def last_seq(self) -> int:
        """Return the number of the newest row, 0 in an empty journal."""
        with self._store.read() as connection:
            return queries.last_seq(connection)

    def messages_after(self, seq: int, limit: int) -> Sequence[CaseMessage | Spoiled]:
        """Return at most `limit` messages recorded after row `seq` that were not given up, in order."""
        with self._store.read() as connection:
            found = letters.due_rows(connection, seq, limit)
        return [_message_of(values) for values in found]

    def waiting_after(self, seq: int, source: str = "") -> tuple[int, datetime | None]:
        """Count the messages recorded after row `seq` that were not given up; return when the oldest was, UTC.

        Only those of `source`, where one is named. It counts up to WAITING_MOST, which means: that many, or more.
        """
        with self._store.read() as connection:
            count, oldest = letters.waiting(connection, seq, WAITING_MOST, source)
        return count, None if oldest is None else parse_utc(oldest)

    def is_message(self, seq: int) -> bool:
        """Tell whether row `seq` is there and was due as a message."""
        with self._store.read() as connection:
            return letters.is_message(connection, seq)

    def message_at(self, seq: int, source: str) -> int:
        """Return the row of the last message of `source` at or before row `seq`, 0 where there is none."""
        with self._store.read() as connection:
            return letters.message_at(connection, seq, source)

    def sources(self) -> Sequence[str]:
        """Return under which sources the journal's messages leave, in order; one that was renamed left several behind.

        Looks at every message: for a person who waits, not for a loop.
        """
        found: list[str] = []
        seq = 0
        with self._store.read() as connection:
            while len(found) < SOURCES_MOST and (values := letters.next_of_others(connection, seq, found)):
                message = _message_of(values)
                seq = values["seq"]
                if isinstance(message, CaseMessage) and message.source not in found:
                    found.append(message.source)
        return found

    def newest_source(self) -> str:
        """Return the source of the newest message that can be read, "" where there is none."""
        with self._store.read() as connection:
            found = letters.newest_rows(connection, NEWEST_TRIED)
        for values in found:
            message = _message_of(values)
            if isinstance(message, CaseMessage):
                return message.source
        return ""

    def bury(self, seq: int, reason: str) -> bool:
        """Give the message of row `seq` up, for ever; tell whether it was not given up before."""
        at = utc_text(self._clock.now())
        with self._store.write() as tx:
            return letters.bury(tx.connection, seq, reason, at)

    def lying(self) -> int:
        """Count the messages that were given up and not replayed since."""
        with self._store.read() as connection:
            return letters.lying(connection)


def _message_of(values: Mapping[str, Any]) -> CaseMessage | Spoiled:
    """Return the message of a row as it is stored. Whatever is wrong with one row is that row's trouble alone."""
    try:
        row = Row(**{**values, "at": parse_utc(values["at"]), "payload": json.loads(values["payload"])})
        return message_of(row)
    except UnicodeEncodeError as error:
        return Spoiled(values["seq"], f"its text cannot be encoded as UTF-8: {error.reason}")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        return Spoiled(values["seq"], f"its row holds no message that can be read: {error!r}")
