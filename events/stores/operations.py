# SPDX-License-Identifier: AGPL-3.0-or-later
"""Reads and writes operations alerts and cameras' days, as the tables hold them. Decides nothing about them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, bindparam, case, delete, insert, select, tuple_, update

from events.stores.schema import CAMERA_DAYS, OPERATIONS

SECONDS = ("seeing_s", "degraded_s", "blind_s", "off_s", "maintenance_s", "elsewhere_s", "looked_at_s")
_NAMES_MAX = 500  # in one IN (…)


def _sum_of(name: str) -> ColumnElement[float]:
    """Return a day's seconds with what is added: never less than nothing, whatever is taken back."""
    added = CAMERA_DAYS.c[name] + bindparam(f"more_{name}")
    return case((added < 0, 0.0), else_=added)


_CHANGE = update(OPERATIONS).where(OPERATIONS.c.alert_id == bindparam("which"))
_ADD = (
    update(CAMERA_DAYS)
    .where(CAMERA_DAYS.c.camera_id == bindparam("which"), CAMERA_DAYS.c.day == bindparam("on_day"))
    .values({name: _sum_of(name) for name in SECONDS})
)
_FORGET = delete(CAMERA_DAYS).where(
    CAMERA_DAYS.c.camera_id == bindparam("which"), CAMERA_DAYS.c.day == bindparam("on_day")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertsWanted:
    """Which operations alerts; None means any.

    Attributes:
        before: (opened_at, id) of the last one of the page before.
    """

    kind: str | None = None
    open_only: bool = False
    before: tuple[str, str] | None = None


def save(connection: Connection, values: Mapping[str, Any]) -> None:
    """Write what an alert is now."""
    changed = connection.execute(_CHANGE, {**values, "which": values["alert_id"]}).rowcount
    if not changed:
        connection.execute(insert(OPERATIONS).values(dict(values)))


def page(connection: Connection, wanted: AlertsWanted, limit: int) -> list[Mapping[str, Any]]:
    """Return at most `limit` alerts, newest first."""
    found = select(OPERATIONS)
    if wanted.kind is not None:
        found = found.where(OPERATIONS.c.kind == wanted.kind)
    if wanted.open_only:
        found = found.where(OPERATIONS.c.ended_at.is_(None))
    if wanted.before is not None:
        found = found.where(tuple_(OPERATIONS.c.opened_at, OPERATIONS.c.alert_id) < wanted.before)
    found = found.order_by(OPERATIONS.c.opened_at.desc(), OPERATIONS.c.alert_id.desc()).limit(limit)
    return [dict(values) for values in connection.execute(found).mappings()]


def add_days(connection: Connection, rows: Iterable[Mapping[str, Any]]) -> None:
    """Add seconds to cameras' days, or take them back where they are less than nothing; no sum becomes so.

    A day that is not there yet is made. No two of `rows` are of one camera and day.
    """
    given = {(row["camera_id"], row["day"]): row for row in rows}
    known = {
        (values["camera_id"], values["day"])
        for day in {day for _, day in given}
        for values in of_day(connection, day, [camera_id for camera_id, on_day in given if on_day == day])
    }
    new = [
        {**row, **{name: max(0.0, row[name]) for name in SECONDS}}
        for key, row in given.items()
        if key not in known
    ]
    old = [
        {"which": key[0], "on_day": key[1], **{f"more_{name}": row[name] for name in SECONDS}}
        for key, row in given.items()
        if key in known
    ]
    if new:
        connection.execute(insert(CAMERA_DAYS), new)
    if old:
        connection.execute(_ADD, old)


def days_of(connection: Connection, camera_id: str, limit: int) -> list[Mapping[str, Any]]:
    """Return the newest days of a camera, at most `limit`, newest first."""
    found = select(CAMERA_DAYS).where(CAMERA_DAYS.c.camera_id == camera_id)
    found = found.order_by(CAMERA_DAYS.c.day.desc()).limit(limit)
    return [dict(values) for values in connection.execute(found).mappings()]


def of_day(connection: Connection, day: str, camera_ids: Sequence[str]) -> list[Mapping[str, Any]]:
    """Return one day of some cameras, as far as it is known."""
    rows: list[Mapping[str, Any]] = []
    for at in range(0, len(camera_ids), _NAMES_MAX):
        some = camera_ids[at : at + _NAMES_MAX]
        found = select(CAMERA_DAYS).where(CAMERA_DAYS.c.day == day, CAMERA_DAYS.c.camera_id.in_(some))
        rows += [dict(values) for values in connection.execute(found).mappings()]
    return rows


def forget_before(connection: Connection, ended_before: str, day: str, limit: int) -> int:
    """Delete alerts that ended before a time and days before a day, at most `limit` of each; return how many."""
    ended = select(OPERATIONS.c.alert_id).where(OPERATIONS.c.ended_at < ended_before).limit(limit)
    gone = connection.execute(delete(OPERATIONS).where(OPERATIONS.c.alert_id.in_(ended))).rowcount
    old = select(CAMERA_DAYS.c.camera_id, CAMERA_DAYS.c.day).where(CAMERA_DAYS.c.day < day).limit(limit)
    keys = [{"which": camera_id, "on_day": on_day} for camera_id, on_day in connection.execute(old)]
    if keys:
        connection.execute(_FORGET, keys)
    return gone + len(keys)
