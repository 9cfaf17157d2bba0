# SPDX-License-Identifier: AGPL-3.0-or-later
"""Messages that no queue takes: what they are, why, and how an incident is told again.

The relay gives such a message up (`events.outbox`) and goes on with the next. Its bytes are frozen and out of order for
ever, so it is never sent itself: a replay records a fresh revision of its incident, which leaves in its turn.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from events.errors import Undeliverable, UnknownIncident, UnknownLetter
from events.incident import Incident
from events.joining import Change, revised
from events.messages import message_of
from events.policy import Policy
from events.queues.port import flaw_of
from events.recording import Act, Recording
from events.stores import letters, queries
from events.stores.schema import JOURNAL
from events.stores.sql import Store
from events.stores.writing import Writer
from events.times import parse_utc
from gridwatch.core.clock import Clock

LETTERS_MAX = 500
REASON = "replayed"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One message that was given up.

    Attributes:
        seq: its journal row.
        message_id: `incident_id:revision`.
        reason: why no queue takes it.
        at: when it was given up, UTC.
        replayed_seq: the row that told its incident again; None while nobody did.
    """

    seq: int
    message_id: str
    incident_id: str
    revision: int
    reason: str
    at: datetime
    replayed_seq: int | None


class DeadLetters:
    """Lists and replays the dead letters of an open store; every method may raise `StoreError`.

    Args:
        store: beside a running gridwatch too.
        clock: wall time of the rows.
        policy: as the running one has it.
    """

    def __init__(self, store: Store, clock: Clock, policy: Policy) -> None:
        self._store, self._clock = store, clock
        self._recording = Recording(policy, store.epoch)

    def list(self, after: int = 0, limit: int = LETTERS_MAX) -> Sequence[DeadLetter]:
        """Return at most `limit` (1 to 500) dead letters of rows after `after`, in order."""
        with self._store.read() as connection:
            found = letters.letters(connection, after, max(1, min(LETTERS_MAX, limit)))
        return [DeadLetter(**{**values, "at": parse_utc(values["at"])}) for values in found]

    def replay(self, seq: int) -> DeadLetter:
        """Tell the incident of dead letter `seq` again, as a fresh revision; return the letter as it is then.

        All its incident's dead letters count as replayed by it: a message holds the whole of what is known.
        One that was replayed before is returned as it is, and nothing is recorded.

        Raises:
            UnknownLetter: row `seq` was not given up.
            UnknownIncident: its incident is not in the store any more.
            Undeliverable: the fresh message would be refused as well, or none is due; nothing was recorded.
        """
        letter = self._letter(seq)
        if letter.replayed_seq is not None:
            return letter
        with self._store.write() as tx:
            incident = tx.incident(letter.incident_id)
            if incident is None:
                raise UnknownIncident(letter.incident_id)
            letters.note_replay(tx.connection, letter.incident_id, self._record(tx, incident))
        return self._letter(seq)

    def _letter(self, seq: int) -> DeadLetter:
        found = self.list(seq - 1, 1)
        if not found or found[0].seq != seq:
            raise UnknownLetter(seq)
        return found[0]

    def _record(self, tx: Writer, incident: Incident) -> int:
        """Write the fresh revision; return its row."""
        now = self._clock.now()
        # `previous` names what the consumer has: not a message that it never got.
        sent = letters.revision_sent(tx.connection, incident.alert.id)
        fresh = replace(revised(incident, now), queued_revision=sent)
        after = self._recording.write(
            tx, incident, Change("updated", fresh), Act(actor="machine", at=now, reason=REASON)
        )
        this = (JOURNAL.c.incident_id == incident.alert.id) & (JOURNAL.c.revision == after.alert.revision)
        (row,) = queries.rows(tx.connection, this, 1, newest=True)
        if row.message_id is None:
            raise Undeliverable(incident.alert.id, "no message is due before somebody confirms it")
        if flaw := flaw_of(message_of(row)):
            raise Undeliverable(incident.alert.id, f"the fresh message would be refused as well: {flaw}")
        return row.seq
