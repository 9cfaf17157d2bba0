# SPDX-License-Identifier: AGPL-3.0-or-later
"""What others read of operations: alerts in pages, and cameras' days. Writes nothing."""

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from events.operations_alert import OperationsAlert
from events.stores import operations as rows
from events.stores.operations import AlertsWanted
from events.stores.sql import Store
from events.times import parse_utc, utc_text
from events.troubles import TroubleKind
from gridwatch.core.coverage import CameraDay
from gridwatch.core.errors import InputError

PAGE_MAX = 200
DAYS_MAX = 400


@dataclass(frozen=True, slots=True)
class OperationsPage:
    """One page, newest first. `next` is an opaque cursor, or None on the last page."""

    items: tuple[OperationsAlert, ...]
    next: str | None


class OperationsReader:
    """Reads an open store. Safe for several threads; every method may raise `StoreError`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def alerts(
        self, kind: TroubleKind | None = None, cursor: str | None = None, limit: int = 50, *, open_only: bool
    ) -> OperationsPage:
        """Return one page of operations alerts, newest first; `limit` is taken as 1 to 200.

        Raises:
            InputError: the cursor is none of ours.
        """
        limit = max(1, min(PAGE_MAX, limit))
        wanted = AlertsWanted(kind=None if kind is None else kind.value, open_only=open_only)
        if cursor is not None:
            wanted = replace(wanted, before=_place(cursor))
        with self._store.read() as connection:
            found = rows.page(connection, wanted, limit + 1)
        alerts = tuple(OperationsAlert.of_row(values) for values in found[:limit])
        return OperationsPage(alerts, _cursor(alerts[-1]) if len(found) > limit else None)

    def days_of(self, camera_id: str, limit: int = 31) -> Sequence[CameraDay]:
        """Return the newest days of a camera, newest first; at most `limit`, and 400."""
        with self._store.read() as connection:
            return [_day(values) for values in rows.days_of(connection, camera_id, min(limit, DAYS_MAX))]

    def of_day(self, day: date, camera_ids: Sequence[str]) -> Mapping[str, CameraDay]:
        """Return one day of some cameras by their ids, as far as anything is known of it."""
        with self._store.read() as connection:
            found = rows.of_day(connection, day.isoformat(), camera_ids)
        return {values["camera_id"]: _day(values) for values in found}


def _day(values: Mapping[str, Any]) -> CameraDay:
    return CameraDay(**{**values, "day": date.fromisoformat(values["day"])})


def _cursor(alert: OperationsAlert) -> str:
    text = f"{utc_text(alert.opened_at)}|{alert.alert_id}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _place(cursor: str) -> tuple[str, str]:
    try:
        at, alert_id = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode().split("|")
        return utc_text(parse_utc(at)), alert_id
    except (ValueError, binascii.Error) as error:
        raise InputError("the cursor is none of ours; begin the list again without it") from error
