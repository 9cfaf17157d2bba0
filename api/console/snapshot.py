# SPDX-License-Identifier: AGPL-3.0-or-later
"""Reads everything that one page shows, at one go. Blocks: call it in a thread."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from api.console.overview import Listing, Sight
from api.operations import Operations
from api.services import Services
from events.alerts import Alert, AlertFilter, Decision
from events.errors import StoreError, UnknownIncident
from events.journal import Row
from gridwatch.core.camera import SightState

_TROUBLED_SHOWN: Final = 6
_UNMATCHED_SHOWN: Final = 3
_UNMATCHED_FOR: Final = timedelta(days=1)
# Newest changes of the shown alert. An incident that goes on for weeks has thousands; each may carry a message.
_ROWS_SHOWN: Final = 200
# Pending alerts that are put in order before the first of them are shown: what is severe is not hidden by what is new.
_PENDING_ORDERED: Final = 400
_NOTHING: Final = Listing(pending=(), decided=(), more=False, more_pending=False)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What one page shows.

    Attributes:
        chosen: the alert beside the list.
        rows: its newest changes, oldest first.
        older: whether it has more changes than these.
    """

    sight: Sight
    listing: Listing
    chosen: Alert | None
    rows: tuple[Row, ...]
    older: bool = False


class SnapshotReader:
    """Reads snapshots through the same operations as the routes."""

    def __init__(self, operations: Operations, services: Services) -> None:
        self._operations, self._services = operations, services

    def read(
        self,
        chosen_id: str | None,
        limit: int,
        former: Snapshot | None,
        changed: Collection[str] | None = None,
    ) -> Snapshot:
        """Return what is to be shown now; `former` again, marked as not current, where the store does not answer.

        Args:
            chosen_id: the alert beside the list; None takes the first.
            limit: how many alerts of each part of the list.
            former: what was shown before.
            changed: incidents with new rows since `former`; None where anything may have changed.
        """
        try:
            listing = self._list(limit)
            chosen = self._chosen(chosen_id, listing)
            rows, older = self._rows(chosen, former, changed)
        except StoreError:
            sight = self.sight(store_answers=False)
            if former is None:
                return Snapshot(sight, _NOTHING, None, ())
            return replace(former, sight=sight)
        return Snapshot(self.sight(), listing, chosen, rows, older)

    def sight(self, *, store_answers: bool = True) -> Sight:
        """Return what is seen now; the cameras that do not see, blind ones first."""
        statuses = self._operations.cameras()
        troubled = [status for status in statuses if status.state is not SightState.SEEING]
        troubled.sort(key=lambda status: status.state is not SightState.BLIND)
        return Sight(
            coverage=self._operations.coverage(),
            troubled=tuple(troubled[:_TROUBLED_SHOWN]),
            run_mode=self._services.run_mode,
            now=self._services.clock.now(),
            store_answers=store_answers,
            unmatched=self._unmatched() if store_answers else (),
        )

    def _unmatched(self) -> tuple[Row, ...]:
        """Read the answers of the last day that belong to no alert; none where the store does not answer."""
        try:
            rows = self._operations.unmatched(_UNMATCHED_SHOWN)
        except StoreError:
            return ()
        earliest = self._services.clock.now() - _UNMATCHED_FOR
        return tuple(row for row in rows if row.at >= earliest)

    def _list(self, limit: int) -> Listing:
        pending = self._operations.alerts(
            AlertFilter(decision=Decision.PENDING), None, max(limit, _PENDING_ORDERED)
        )
        recent = self._operations.alerts(AlertFilter(), None, limit)
        ordered = sorted(
            pending.items, key=lambda alert: alert.severity
        )  # stable: newest first within a level
        return Listing(
            pending=tuple(ordered[:limit]),
            decided=tuple(alert for alert in recent.items if alert.decision is not Decision.PENDING),
            more=recent.next is not None,
            more_pending=pending.next is not None or len(ordered) > limit,
        )

    def _chosen(self, chosen_id: str | None, listing: Listing) -> Alert | None:
        shown = listing.in_order()
        for alert in shown:
            if alert.id == chosen_id:
                return alert
        if chosen_id is not None:
            try:
                return self._operations.alert(chosen_id)
            except UnknownIncident:  # deleted meanwhile
                pass
        return shown[0] if shown else None

    def _rows(
        self, chosen: Alert | None, former: Snapshot | None, changed: Collection[str] | None
    ) -> tuple[tuple[Row, ...], bool]:
        """Read the newest rows of the chosen alert; those of `former` stand where nothing of it has changed."""
        if chosen is None:
            return (), False
        if former is not None and changed is not None and _holds(former, chosen.id, changed):
            return former.rows, former.older
        try:
            rows = self._operations.newest_rows(chosen.id, _ROWS_SHOWN + 1)
        except UnknownIncident:
            return (), False
        return tuple(rows[-_ROWS_SHOWN:]), len(rows) > _ROWS_SHOWN


def _holds(former: Snapshot, chosen_id: str, changed: Collection[str]) -> bool:
    """Tell whether the rows of `former` are the chosen alert's, were read when it was, and nothing came since."""
    same = former.chosen is not None and former.chosen.id == chosen_id
    return same and former.sight.store_answers and chosen_id not in changed
