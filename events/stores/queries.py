# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is read of the store: incidents, journal rows and messages. What pages has a bound."""

import json
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, and_, func, or_, select
from sqlalchemy.sql import ColumnElement

from events.alerts import Activity, AlertFilter, CaseState
from events.incident import Incident, IncidentCodec
from events.journal import Row
from events.stores.schema import COUNTER, INCIDENTS, JOURNAL
from events.times import parse_utc
from gridwatch.core.zone import Kind


def incident_by_id(connection: Connection, codec: IncidentCodec, incident_id: str) -> Incident | None:
    """Return an incident, or None."""
    found = select(INCIDENTS.c.state).where(INCIDENTS.c.incident_id == incident_id)
    state = connection.execute(found).scalar()
    return None if state is None else codec.decode(state)


def latest_incident(
    connection: Connection, codec: IncidentCodec, camera_id: str, kind: Kind, subtype: str, run_mode: str
) -> Incident | None:
    """Return the incident of this camera, kind, subtype and run mode that may be joined, else the one opened last, or None.

    Joinable is one whose activity has not ended and whose case is not closed.
    """
    here = and_(
        INCIDENTS.c.camera_id == camera_id,
        INCIDENTS.c.kind == kind.value,
        INCIDENTS.c.subtype == subtype,
        INCIDENTS.c.run_mode == run_mode,
    )
    newest = (
        select(INCIDENTS.c.state)
        .where(here)
        .order_by(INCIDENTS.c.opened_at.desc(), INCIDENTS.c.incident_id.desc())
    )
    joinable = and_(
        INCIDENTS.c.activity != Activity.ENDED.value, INCIDENTS.c.case_state != CaseState.CLOSED.value
    )
    state = connection.execute(newest.where(joinable).limit(1)).scalar()
    if state is None:
        state = connection.execute(newest.limit(1)).scalar()
    return None if state is None else codec.decode(state)


def incidents_of_camera(
    connection: Connection, codec: IncidentCodec, camera_id: str | None, activity: Activity
) -> list[Incident]:
    """Return every incident with this activity: of one camera, or (None) of all."""
    found = select(INCIDENTS.c.state).where(INCIDENTS.c.activity == activity.value)
    if camera_id is not None:
        found = found.where(INCIDENTS.c.camera_id == camera_id)
    return [
        codec.decode(state) for state in connection.execute(found.order_by(INCIDENTS.c.opened_at)).scalars()
    ]


def page_of_incidents(
    connection: Connection,
    codec: IncidentCodec,
    wanted: AlertFilter,
    before: tuple[str, str] | None,
    limit: int,
) -> list[Incident]:
    """Return at most `limit` incidents, newest first, opened before the place `before` (opened_at, id)."""
    found = select(INCIDENTS.c.state).where(*_conditions(wanted))
    if before is not None:
        at, last = before
        older = INCIDENTS.c.opened_at < at
        found = found.where(or_(older, and_(INCIDENTS.c.opened_at == at, INCIDENTS.c.incident_id < last)))
    found = found.order_by(INCIDENTS.c.opened_at.desc(), INCIDENTS.c.incident_id.desc()).limit(limit)
    return [codec.decode(state) for state in connection.execute(found).scalars()]


def _conditions(wanted: AlertFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if wanted.kind is not None:
        conditions.append(INCIDENTS.c.kind == wanted.kind.value)
    if wanted.decision is not None:
        conditions.append(INCIDENTS.c.decision == wanted.decision.value)
    if wanted.activity is not None:
        conditions.append(INCIDENTS.c.activity == wanted.activity.value)
    if wanted.camera_id is not None:
        conditions.append(INCIDENTS.c.camera_id == wanted.camera_id)
    if wanted.open_only:
        conditions.append(INCIDENTS.c.activity != Activity.ENDED.value)
    return conditions


def states(connection: Connection, condition: ColumnElement[bool]) -> Iterator[str]:
    """Yield the encoded incidents that meet `condition`, in the order of their opening, without holding them all."""
    found = select(INCIDENTS.c.state).where(condition).order_by(INCIDENTS.c.opened_at)
    yield from connection.execute(found.execution_options(yield_per=500)).scalars()


def count_by(connection: Connection, name: str) -> dict[str, int]:
    """Count incidents by one of the columns kind, activity, decision, case_state."""
    column = INCIDENTS.c[name]
    found = connection.execute(select(column, func.count()).group_by(column))
    return {value: count for value, count in found}  # noqa: C416  rows are no pairs to the type checker


def rows(
    connection: Connection, condition: ColumnElement[bool], limit: int, *, newest: bool = False
) -> list[Row]:
    """Return at most `limit` rows of the journal that meet `condition`, in order: the first, or the newest, of them."""
    order = JOURNAL.c.seq.desc() if newest else JOURNAL.c.seq
    found = connection.execute(select(JOURNAL).where(condition).order_by(order).limit(limit)).mappings()
    return [_row(values) for values in found][:: -1 if newest else 1]


def newest_message_row(connection: Connection) -> Row | None:
    """Return the newest row that is a message, or None."""
    found = select(JOURNAL).where(JOURNAL.c.message_id.is_not(None)).order_by(JOURNAL.c.seq.desc()).limit(1)
    values = connection.execute(found).mappings().first()
    return None if values is None else _row(values)


def last_seq(connection: Connection) -> int:
    """Return the number of the newest row, 0 in an empty journal."""
    return connection.execute(select(COUNTER.c.seq)).scalar() or 0


def waiting_messages(connection: Connection, seq: int) -> tuple[int, str | None]:
    """Count the messages after `seq`, and return when the oldest of them was recorded."""
    found = select(func.count(), func.min(JOURNAL.c.at)).where(
        JOURNAL.c.seq > seq, JOURNAL.c.message_id.is_not(None)
    )
    count, oldest = connection.execute(found).one()
    return count, oldest


def _row(values: Any) -> Row:
    fields = dict(values)
    fields["at"] = parse_utc(fields["at"])
    fields["payload"] = None if fields["payload"] is None else json.loads(fields["payload"])
    return Row(**fields)
