# SPDX-License-Identifier: AGPL-3.0-or-later
"""What others read of the store: alerts, timelines, the journal, and the messages of the queue. Writes nothing."""

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement

from events.alerts import Alert, AlertFilter, AlertPage
from events.errors import UnknownIncident
from events.journal import Epoch, Outline, Row, storable
from events.messages import CaseMessage, message_of
from events.stores import queries, replies
from events.stores.schema import JOURNAL
from events.stores.sql import Store
from events.times import parse_utc, utc_text
from gridwatch.core.errors import InputError

PAGE_MAX = 500
ROWS_MAX = 5_000


@dataclass(frozen=True, slots=True)
class Counts:
    """How many incidents there are, by the values of their fields; a value without one is missing."""

    by_kind: dict[str, int]
    by_activity: dict[str, int]
    by_decision: dict[str, int]
    by_case: dict[str, int]


class AlertReader:
    """Reads an open store. Safe for several threads; every method may raise `StoreError`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @property
    def store(self) -> Store:
        """The open store that is read."""
        return self._store

    @property
    def epoch(self) -> str:
        """The store's epoch."""
        return self._store.epoch

    def epochs(self) -> Sequence[Epoch]:
        """Return the epochs of this store, oldest first; the last is `epoch`, and each tells which one it goes on from."""
        with self._store.read() as connection:
            return queries.epochs(connection)

    def list(self, wanted: AlertFilter, cursor: str | None, limit: int) -> AlertPage:
        """Return one page of alerts, newest first; `limit` is taken as 1 to 500.

        Raises:
            InputError: the cursor is none of ours.
        """
        limit = max(1, min(PAGE_MAX, limit))
        before = None if cursor is None else _place(cursor)
        with self._store.read() as connection:
            found = queries.page_of_incidents(connection, self._store.codec, wanted, before, limit + 1)
        alerts = tuple(incident.alert for incident in found[:limit])
        return AlertPage(alerts, _cursor(alerts[-1]) if len(found) > limit else None)

    def get(self, incident_id: str) -> Alert:
        """Return one alert.

        Raises:
            UnknownIncident: there is none with this id.
        """
        with self._store.read() as connection:
            incident = queries.incident_by_id(connection, self._store.codec, incident_id)
        if incident is None:
            raise UnknownIncident(incident_id)
        return incident.alert

    def timeline(self, incident_id: str) -> Sequence[Row]:
        """Return the rows of one incident, oldest first: the newest 5,000.

        Raises:
            UnknownIncident: nothing was ever recorded under this id.
        """
        found = self.newest_rows(incident_id, ROWS_MAX)
        if not found:
            raise UnknownIncident(incident_id)
        return found

    def newest_rows(self, incident_id: str, limit: int) -> Sequence[Row]:
        """Return the newest rows of one incident, at most `limit`, oldest first."""
        return self._rows(JOURNAL.c.incident_id == storable(incident_id), limit, newest=True)

    def rows_of(self, incident_id: str, seq: int, limit: int) -> Sequence[Row]:
        """Return at most `limit` rows of one incident after row `seq`, in order."""
        of_it = JOURNAL.c.incident_id == storable(incident_id)
        return self._rows(of_it & (JOURNAL.c.seq > seq), limit)

    def rows_after(self, seq: int, limit: int) -> Sequence[Row]:
        """Return at most `limit` rows of the journal after `seq`, in order."""
        return self._rows(JOURNAL.c.seq > seq, limit)

    def unmatched(self, limit: int) -> Sequence[Row]:
        """Return the newest answers of case systems that belong to no incident here, at most `limit`, newest first."""
        with self._store.read() as connection:
            return replies.newest_aside(connection, limit)

    def outline_after(self, seq: int, limit: int) -> Sequence[Outline]:
        """Return what at most `limit` rows after `seq` are, in order, without what they say."""
        with self._store.read() as connection:
            return queries.outline(connection, seq, max(1, min(ROWS_MAX, limit)))

    def last_seq(self) -> int:
        """Return the number of the newest row, 0 in an empty journal."""
        with self._store.read() as connection:
            return queries.last_seq(connection)

    def counts(self) -> Counts:
        """Count all incidents by kind, activity, decision and case."""
        with self._store.read() as connection:
            found = queries.tallies(connection)
        return Counts(found["kind"], found["activity"], found["decision"], found["case_state"])

    def confirmed_by_camera(self, since: datetime) -> Mapping[str, int]:
        """Return how many incidents that opened since then operators confirmed, by camera; none where there are none."""
        with self._store.read() as connection:
            return queries.confirmed_by_camera(connection, utc_text(since))

    def messages_after(self, seq: int, limit: int) -> Sequence[CaseMessage]:
        """Return at most `limit` messages recorded after row `seq`, in order."""
        due = (JOURNAL.c.seq > seq) & JOURNAL.c.message_id.is_not(None) & JOURNAL.c.payload.is_not(None)
        return [message_of(row) for row in self._rows(due, limit)]

    def newest_message(self) -> CaseMessage | None:
        """Return the newest message, or None."""
        with self._store.read() as connection:
            row = queries.newest_message_row(connection)
        return None if row is None or row.payload is None else message_of(row)

    def _rows(self, condition: ColumnElement[bool], limit: int, *, newest: bool = False) -> Sequence[Row]:
        with self._store.read() as connection:
            return queries.rows(connection, condition, max(1, min(ROWS_MAX, limit)), newest=newest)


def _cursor(alert: Alert) -> str:
    return base64.urlsafe_b64encode(f"{utc_text(alert.opened_at)}|{alert.id}".encode()).decode().rstrip("=")


def _place(cursor: str) -> tuple[str, str]:
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
        at, incident_id = text.split("|")
        return utc_text(parse_utc(at)), incident_id
    except (ValueError, binascii.Error) as error:
        raise InputError("the cursor is none of ours; begin the list again without it") from error
