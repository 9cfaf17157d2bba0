# SPDX-License-Identifier: AGPL-3.0-or-later
"""Makes room in a full evidence folder: what dismissed incidents left goes first, the oldest first; never a record.

A file that another incident shares (two alerts of one picture) stays, and so does what an open case may need. An incident
whose evidence went keeps its row and its hashes; the file is answered as gone. A search is bounded, because a picture
waits for it: it looks at a stretch of the table, and the next one goes on from there; after the end it begins anew.
"""

from events.alerts import Decision
from events.evidence import EvidenceStore
from events.incident import Incident
from events.removal import AT_ONCE, HELD, Removal, Removed
from events.stores import files
from events.stores.files import NAMES_MAX, FileRow, Place
from events.stores.sql import Store
from gridwatch.core.clock import Clock

WHY = "disk_full"
LOOKED_AT = 2_000  # rows in one stretch
STRETCHES = 3  # in one search
SEARCH_EVERY_S = 60.0  # after a whole pass that freed nothing


class Expendable:
    """The evidence that may go. Safe for several threads as far as its caller lets only one free at a time."""

    def __init__(self, store: Store, evidence: EvidenceStore, clock: Clock) -> None:
        self._store, self._clock = store, clock
        self._removal = Removal(store, evidence, clock)
        self._place: Place | None = None  # nothing before it may go, as far as this pass has seen
        self._freed_in_pass = False
        self._not_before_s = 0.0

    def free(self, size: int) -> bool:
        """Delete the oldest evidence of dismissed incidents until `size` bytes are free, as far as one search finds them.

        Tell whether any became free. What only dismissed incidents share frees nothing until the last of them is asked.

        Raises:
            StoreError: the database does not answer.
        """
        if self._clock.mono_s() < self._not_before_s:
            return False
        removed = Removed()
        for _ in range(STRETCHES):
            with self._store.read() as connection:
                looked_at = files.stored_until(connection, self._clock.now(), self._place, LOOKED_AT)
                going = [row for row in looked_at if _is_free(row.decision, row.case_state)]
                needed: set[str] = set()
                for at in range(0, len(going), NAMES_MAX):
                    hashes = [row.sha256 for row in going[at : at + NAMES_MAX]]
                    needed |= files.needed(connection, hashes, Decision.DISMISSED.value, HELD)
            more, done = self._delete(
                [row for row in going if row.sha256 not in needed], size - removed.bytes
            )
            removed = removed.plus(more)
            self._freed_in_pass = self._freed_in_pass or removed.bytes > 0
            if not done:
                return True
            if len(looked_at) < LOOKED_AT:
                self._begin_anew()
                break
            self._place = looked_at[-1].place
        return removed.bytes > 0

    @property
    def goes_on(self) -> bool:
        """Whether the next search goes on where the last one stopped."""
        return self._place is not None

    def _delete(self, rows: list[FileRow], size: int) -> tuple[Removed, bool]:
        """Delete until `size` is free, whole incidents at a time; return what went, and whether all of `rows` did."""
        removed, at = Removed(), 0
        while at < len(rows):
            if removed.bytes >= size:
                return removed, False
            end = at + 1
            while end < min(len(rows), at + AT_ONCE) and rows[end].incident_id == rows[at].incident_id:
                end += 1
            removed = removed.plus(self._removal.remove(rows[at:end], WHY, still=_dismissed))
            at = end
        return removed, removed.bytes < size

    def _begin_anew(self) -> None:
        if not self._freed_in_pass:
            self._not_before_s = self._clock.mono_s() + SEARCH_EVERY_S
        self._place, self._freed_in_pass = None, False


def _is_free(decision: str, case_state: str) -> bool:
    return decision == Decision.DISMISSED.value and case_state not in HELD


def _dismissed(incident: Incident, _row: FileRow) -> bool:
    return _is_free(incident.alert.decision.value, incident.alert.case.value)
