# SPDX-License-Identifier: AGPL-3.0-or-later
"""Makes room in a full evidence folder: what dismissed incidents left goes first, the oldest first; never a record.

A file that another incident shares (two alerts of one picture) stays. An incident whose evidence went keeps its row and
its hashes; the file is answered as gone.
"""

import re
from collections.abc import Iterator

from sqlalchemy import ColumnElement, Connection

from events.alerts import Decision
from events.evidence import EvidenceStore
from events.stores import queries
from events.stores.schema import INCIDENTS
from events.stores.sql import Store
from gridwatch.core.clock import Clock

FREED_SHARE = 0.05  # of the cap at a time, so that the store is seldom searched
CANDIDATES_MAX = 5_000
SEARCH_EVERY_S = 60.0  # after a search that found nothing
_SHA256 = re.compile(r"\b[0-9a-f]{64}\b")


class Expendable:
    """The evidence that may go. Safe for several threads as far as its caller lets only one free at a time."""

    def __init__(self, store: Store, evidence: EvidenceStore, clock: Clock) -> None:
        self._store, self._evidence, self._clock = store, evidence, clock
        self._not_before_s = 0.0

    def free(self, size: int) -> bool:
        """Delete the oldest evidence of dismissed incidents: `size` bytes, or a twentieth of the cap. Tell whether any went.

        Raises:
            StoreError: the database does not answer.
            EvidenceError: a file cannot be deleted.
        """
        if self._clock.mono_s() < self._not_before_s:
            return False
        with self._store.read() as connection:
            found = self._candidates(connection)
        freed, wanted = 0, max(size, self._evidence.max_bytes * FREED_SHARE)
        for sha256 in found:
            freed += self._evidence.discard(sha256)
            if freed >= wanted:
                break
        if not freed:
            self._not_before_s = self._clock.mono_s() + SEARCH_EVERY_S
        return freed > 0

    def _candidates(self, connection: Connection) -> list[str]:
        dismissed = INCIDENTS.c.decision == Decision.DISMISSED.value
        found: dict[str, None] = {}  # in the order of their incidents
        for sha256 in _hashes(connection, dismissed):
            if sha256 not in found and self._evidence.has(sha256):
                found[sha256] = None
                if len(found) == CANDIDATES_MAX:
                    break
        for sha256 in _hashes(connection, ~dismissed) if found else ():
            found.pop(sha256, None)
        return list(found)


def _hashes(connection: Connection, condition: ColumnElement[bool]) -> Iterator[str]:
    """Yield every hash that incidents name, the incidents opened first coming first."""
    for state in queries.states(connection, condition):
        yield from _SHA256.findall(state)
