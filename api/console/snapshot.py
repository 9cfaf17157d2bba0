# SPDX-License-Identifier: AGPL-3.0-or-later
"""Reads everything that one page shows, at one go. Blocks: call it in a thread."""

from dataclasses import dataclass
from typing import Final

from api.console.overview import Listing, Sight
from api.operations import Operations, coverage_of
from api.services import Services
from events.alerts import Alert, AlertFilter, Decision
from events.errors import StoreError, UnknownIncident
from events.journal import Row
from gridwatch.core.camera import SightState

_TROUBLED_SHOWN: Final = 6
_NOTHING: Final = Listing(pending=(), decided=(), more=False, more_pending=False)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What one page shows: `chosen` is the alert beside the list, `rows` its changes, oldest first."""

    sight: Sight
    listing: Listing
    chosen: Alert | None
    rows: tuple[Row, ...]


class SnapshotReader:
    """Reads snapshots through the same operations as the routes."""

    def __init__(self, operations: Operations, services: Services) -> None:
        self._operations, self._services = operations, services

    def read(self, chosen_id: str | None, limit: int, former: Snapshot | None) -> Snapshot:
        """Return what is to be shown now; `former` again, marked as not current, where the store does not answer."""
        try:
            listing = self._list(limit)
            chosen = self._chosen(chosen_id, listing)
            rows = tuple(self._operations.timeline(chosen.id)) if chosen else ()
        except (StoreError, UnknownIncident):
            sight = self.sight(store_answers=False)
            if former is None:
                return Snapshot(sight, _NOTHING, None, ())
            return Snapshot(sight, former.listing, former.chosen, former.rows)
        return Snapshot(self.sight(), listing, chosen, rows)

    def sight(self, *, store_answers: bool = True) -> Sight:
        """Return what is seen now; the cameras that do not see, blind ones first."""
        statuses = self._operations.cameras()
        troubled = [status for status in statuses if status.state is not SightState.SEEING]
        troubled.sort(key=lambda status: status.state is not SightState.BLIND)
        return Sight(
            coverage=coverage_of(statuses),
            troubled=tuple(troubled[:_TROUBLED_SHOWN]),
            run_mode=self._services.run_mode,
            now=self._services.clock.now(),
            store_answers=store_answers,
        )

    def _list(self, limit: int) -> Listing:
        pending = self._operations.alerts(AlertFilter(decision=Decision.PENDING), None, limit)
        recent = self._operations.alerts(AlertFilter(), None, limit)
        return Listing(
            pending=pending.items,
            decided=tuple(alert for alert in recent.items if alert.decision is not Decision.PENDING),
            more=recent.next is not None,
            more_pending=pending.next is not None,
        )

    def _chosen(self, chosen_id: str | None, listing: Listing) -> Alert | None:
        shown = listing.in_order()
        for alert in shown:
            if alert.id == chosen_id:
                return alert
        if chosen_id is not None:
            return self._operations.alert(chosen_id)
        return shown[0] if shown else None
