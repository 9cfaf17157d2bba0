# SPDX-License-Identifier: AGPL-3.0-or-later
"""Deletes files of evidence and records it: one transaction marks the rows, writes the journal and unlinks the files.

The incident's record stays, hashes included; so does a file that another incident has. Files go before the commit: a
crash between the two leaves rows that say a file is there, which the next pass finds and marks. The other order would
leave files that nobody looks for any more.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

import structlog

from events.alerts import CASE_OPEN
from events.errors import EvidenceError
from events.evidence import EvidenceStore
from events.incident import Incident
from events.stores import files
from events.stores.files import FileRow
from events.stores.sql import Store
from events.stores.writing import Entry, Writer
from gridwatch.core.clock import Clock

log = structlog.get_logger()

ACTOR = "machine"
HELD = frozenset(state.value for state in CASE_OPEN)  # a case is open: its evidence stays
AT_ONCE = 200  # files in one transaction: writers wait for it


@dataclass(frozen=True, slots=True)
class Removed:
    """What went: files whose incident has them no longer, and the bytes that became free (a shared file frees none)."""

    files: int = 0
    bytes: int = 0

    def plus(self, other: "Removed") -> "Removed":
        """Return both together."""
        return Removed(self.files + other.files, self.bytes + other.bytes)


class Removal:
    """Deletes what it is told to, as long as the incident still allows it. Safe for several threads.

    A file that cannot be deleted is told to the log, and tried again by whoever asks again.
    """

    def __init__(self, store: Store, evidence: EvidenceStore, clock: Clock) -> None:
        self._store, self._evidence, self._clock = store, evidence, clock

    def remove(
        self, wanted: Sequence[FileRow], why: str, *, still: Callable[[Incident, FileRow], bool]
    ) -> Removed:
        """Delete files, and write one row of the journal for each incident that loses some.

        Args:
            wanted: at most `AT_ONCE` of them are taken.
            why: the reason in the journal.
            still: asked inside the transaction whether the incident may still lose that file: it may have been
                decided meanwhile, or its case opened.

        Raises:
            StoreError: the database does not answer.
        """
        removed = Removed()
        by_incident = sorted(wanted[:AT_ONCE], key=lambda row: row.incident_id)
        with self._store.write() as tx:
            for incident_id, rows in groupby(by_incident, key=lambda row: row.incident_id):
                incident = tx.incident(incident_id)
                if incident is not None:
                    going = [row for row in rows if still(incident, row)]
                    removed = removed.plus(self._of_one(tx, incident, going, why))
        return removed

    def _of_one(self, tx: Writer, incident: Incident, rows: Sequence[FileRow], why: str) -> Removed:
        incident_id, now = incident.alert.id, self._clock.now()
        shared = files.shared(tx.connection, [row.sha256 for row in rows], incident_id)
        gone, freed = [], 0
        for row in rows:
            if row.sha256 not in shared:
                try:
                    freed += self._evidence.discard(row.sha256)
                except EvidenceError as error:
                    log.warning("evidence_not_deleted", sha256=row.sha256, reason=str(error))
                    continue
            gone.append(row)
        if not gone:
            return Removed()
        files.mark_deleted(tx.connection, incident_id, [row.sha256 for row in gone], now, why)
        payload = {"reason": why, "deleted": [{"sha256": row.sha256, "suffix": row.suffix} for row in gone]}
        tx.append(
            Entry(
                incident_id=incident_id,
                revision=incident.alert.revision,
                kind="evidence",
                actor=ACTOR,
                at=now,
                payload=payload,
            )
        )
        return Removed(len(gone), freed)
