# SPDX-License-Identifier: AGPL-3.0-or-later
"""Deletes evidence by age: so many days after it was stored, by what was decided, never while a case is open.

A step is bounded: it looks at one stretch of the table, oldest first, and goes on from there in the next one; and at one
of the folders, for files that no row names (a crash between the file and its row). Records are never deleted here. When
the folder is nearly full a step also makes room ahead of need, by the rules of `expendable`. What is kept of operations
(their alerts that ended, cameras' days) goes after thirteen months, so that a year can be compared with the one before.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from events.alerts import Decision
from events.errors import EvidenceError, StoreError
from events.evidence import SHARDS, EvidenceStore
from events.expendable import Expendable
from events.incident import Incident
from events.policy import KeepDays
from events.removal import AT_ONCE, HELD, Removal, Removed
from events.stores import files, operations
from events.stores.files import NAMES_MAX, FileRow, Place
from events.stores.sql import Store
from events.times import parse_utc, utc_text
from gridwatch.core.clock import Clock

log = structlog.get_logger()

WHY = "retention"
ACTUAL = "actual"
LOOKED_AT = 2_000  # rows in one step
BUSY_PAUSE_S = 1.0  # between two steps of one pass
REST_S = 600.0  # after a pass
LOOK_EVERY_S = 20.0  # whether the folder is nearly full
AWAY_PAUSE_S = 30.0  # while the store does not answer
OPERATIONS_KEPT = timedelta(days=400)
OPERATIONS_AT_ONCE = 5_000  # rows at the end of a pass; a city's cameras make fewer in a day


@dataclass(frozen=True, slots=True)
class Swept:
    """What a step did: rows looked at, what went, files without a row that went, and whether the pass goes on."""

    looked_at: int
    removed: Removed
    stray: int
    more: bool


class Retention:
    """The one worker that deletes by age. Not for several threads at once; other threads may write meanwhile.

    Args:
        store: where the rows are.
        evidence: where the files are.
        keep: for how long.
        clock: wall time decides here.
        run_mode: of this machine; an exercise or test of another run mode is kept for `keep.exercise` days. None: as all.
    """

    def __init__(
        self,
        store: Store,
        evidence: EvidenceStore,
        keep: KeepDays,
        clock: Clock,
        *,
        run_mode: str | None = None,
    ) -> None:
        self._run_mode = run_mode
        self._store, self._evidence, self._keep, self._clock = store, evidence, keep, clock
        self._removal = Removal(store, evidence, clock)
        self._expendable = Expendable(store, evidence, clock)
        self._place: Place | None = None
        self._shard = 0
        self.deleted_files = 0
        self.freed_bytes = 0

    def run(self, stop: threading.Event) -> None:
        """Step until `stop` is set."""
        rests_until_s = self._clock.mono_s()
        while not stop.is_set():
            pause_s = AWAY_PAUSE_S
            try:
                if self._clock.mono_s() < rests_until_s:
                    more = self.make_room()
                elif not (more := self.step().more):
                    rests_until_s = self._clock.mono_s() + REST_S
                pause_s = BUSY_PAUSE_S if more else LOOK_EVERY_S
            except (StoreError, EvidenceError) as error:
                log.warning("retention_waits", reason=str(error))
            except Exception:  # the thread's top loop: one bad row must not end deletion for good
                log.exception("retention_failed")
            stop.wait(pause_s)

    def step(self) -> Swept:
        """Look at the next stretch of the evidence, and delete what is over its time.

        Raises:
            StoreError: the database does not answer; the same call may succeed later.
            EvidenceError: the folder cannot be read.
        """
        now = self._clock.now()
        with self._store.read() as connection:
            found = files.stored_until(connection, self._limit(min, now), self._place, LOOKED_AT)
        due = [row for row in found if self._is_due(row, now)]
        removed = Removed()
        for at in range(0, len(due), AT_ONCE):
            some = due[at : at + AT_ONCE]
            removed = removed.plus(self._removal.remove(some, WHY, still=_unchanged))
        more = len(found) == LOOKED_AT
        self._place = found[-1].place if more else None
        self.deleted_files += removed.files
        self.freed_bytes += removed.bytes
        stray = self._stray(now)
        if not more:
            self._forget_operations(now - OPERATIONS_KEPT)
        more = self.make_room() or more
        return Swept(len(found), removed, stray, more)

    def make_room(self) -> bool:
        """Where the folder is nearly full, let dismissed evidence go; return whether there is more to be looked at.

        Raises:
            StoreError, EvidenceError: as in `step`.
        """
        excess = self._evidence.excess()
        return bool(excess) and (self._expendable.free(excess) or self._expendable.goes_on)

    def _is_due(self, row: FileRow, now: datetime) -> bool:
        days = self._keep.exercise if self._is_exercise(row) else self._keep.of(Decision(row.decision))
        kept_until = parse_utc(row.stored_at) + timedelta(days=days)
        return row.case_state not in HELD and kept_until <= now

    def _is_exercise(self, row: FileRow) -> bool:
        return self._run_mode is not None and row.run_mode not in {ACTUAL, self._run_mode}

    def _forget_operations(self, before: datetime) -> None:
        with self._store.write() as tx:
            text = utc_text(before)
            operations.forget_before(tx.connection, text, before.date().isoformat(), OPERATIONS_AT_ONCE)

    def _stray(self, now: datetime) -> int:
        """Delete what lies in the next folder longer than anything is kept, and what no row names; return how many."""
        before = self._limit(max, now)
        old = [sha256 for sha256, _ in self._evidence.older(self._shard, before)]
        self._shard = (self._shard + 1) % SHARDS
        deleted = 0
        for at in range(0, len(old), NAMES_MAX):
            some = old[at : at + NAMES_MAX]
            with self._store.write() as tx:  # so that nobody names one of them between question and deletion
                known = files.named(tx.connection, some)
                deleted += sum(self._evidence.discard(sha256) > 0 for sha256 in some if sha256 not in known)
        return deleted

    def _limit(self, pick: Callable[[list[int]], int], now: datetime) -> datetime:
        exercise = [] if self._run_mode is None else [self._keep.exercise]
        return now - timedelta(days=pick([*exercise, *(self._keep.of(decision) for decision in Decision)]))


def _unchanged(incident: Incident, row: FileRow) -> bool:
    """Tell whether nobody decided, and the case system answered nothing, since the row was read."""
    alert = incident.alert
    return (alert.decision.value, alert.case.value) == (row.decision, row.case_state)
