# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is read of the store: incidents, journal rows and messages. What pages has a bound."""

import json
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, bindparam, func, literal_column, select, tuple_
from sqlalchemy.sql import ColumnElement

from events.alerts import Activity, AlertFilter, CaseState, Decision
from events.incident import Incident, IncidentCodec
from events.journal import Epoch, Outline, Row, storable
from events.stores.schema import COUNTER, EPOCHS, INCIDENTS, JOURNAL, TALLIED, TALLIES
from events.times import parse_utc
from gridwatch.core.zone import Kind

# Written out, not bound: only so does a database see that the indexes of open incidents serve it.
STILL_OPEN = INCIDENTS.c.activity != literal_column(f"'{Activity.ENDED.value}'")

# Asked for each finding, so made once: building a statement costs more than running it.
_NEWEST_HERE = (
    select(INCIDENTS.c.state)
    .where(
        INCIDENTS.c.camera_id == bindparam("camera"),
        INCIDENTS.c.kind == bindparam("kind_of"),
        INCIDENTS.c.subtype == bindparam("subtype_of"),
        INCIDENTS.c.run_mode == bindparam("mode"),
    )
    .order_by(INCIDENTS.c.opened_at.desc(), INCIDENTS.c.incident_id.desc())
    .limit(1)
)
_JOINABLE_HERE = _NEWEST_HERE.where(STILL_OPEN, INCIDENTS.c.case_state != CaseState.CLOSED.value)


def incident_by_id(connection: Connection, codec: IncidentCodec, incident_id: str) -> Incident | None:
    """Return an incident, or None."""
    found = select(INCIDENTS.c.state).where(INCIDENTS.c.incident_id == storable(incident_id))
    state = connection.execute(found).scalar()
    return None if state is None else codec.decode(state)


def latest_incident(
    connection: Connection, codec: IncidentCodec, camera_id: str, kind: Kind, subtype: str, run_mode: str
) -> Incident | None:
    """Return the incident of this camera, kind, subtype and run mode that may be joined, else the one opened last, or None.

    Joinable is one whose activity has not ended and whose case is not closed.
    """
    here = {"camera": storable(camera_id), "kind_of": kind.value, "subtype_of": subtype, "mode": run_mode}
    state = connection.execute(_JOINABLE_HERE, here).scalar()
    if state is None:
        state = connection.execute(_NEWEST_HERE, here).scalar()
    return None if state is None else codec.decode(state)


def incidents_of_camera(
    connection: Connection, codec: IncidentCodec, camera_id: str | None, activity: Activity
) -> list[Incident]:
    """Return every incident with this activity: of one camera, or (None) of all."""
    found = select(INCIDENTS.c.state).where(*_conditions(AlertFilter(activity=activity, camera_id=camera_id)))
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
        found = found.where(tuple_(INCIDENTS.c.opened_at, INCIDENTS.c.incident_id) < before)
    found = found.order_by(INCIDENTS.c.opened_at.desc(), INCIDENTS.c.incident_id.desc()).limit(limit)
    return [codec.decode(state) for state in connection.execute(found).scalars()]


def _conditions(wanted: AlertFilter) -> list[ColumnElement[bool]]:
    """Return what a list asks for.

    Open incidents are few, and have an index of their own in the order of a list. Where only they are wanted, the other
    columns are written so that no other index serves them: a database would take one, and walk a million ended incidents.
    So is the run mode beside a camera or a kind, which tell more; and several run modes, whose rows would have to be sorted.
    """
    open_only = wanted.open_only or wanted.activity in (Activity.ONGOING, Activity.UNSEEN)
    camera_id = None if wanted.camera_id is None else storable(wanted.camera_id)
    asked = {"kind": wanted.kind, "decision": wanted.decision, "activity": wanted.activity}
    values = {name: value.value for name, value in asked.items() if value is not None}
    values |= {} if camera_id is None else {"camera_id": camera_id}
    columns = {name: INCIDENTS.c[name] for name in values}
    by_run_mode = len(wanted.run_modes) == 1 and not open_only and wanted.kind is None and camera_id is None
    run_mode = INCIDENTS.c.run_mode if by_run_mode else INCIDENTS.c.run_mode.concat("")
    return [
        *([STILL_OPEN] if open_only else []),
        *([run_mode.in_(wanted.run_modes)] if wanted.run_modes else []),
        *(
            (columns[name].concat("") if open_only else columns[name]) == value
            for name, value in values.items()
        ),
    ]


def states(connection: Connection, condition: ColumnElement[bool]) -> Iterator[str]:
    """Yield the encoded incidents that meet `condition`, in the order of their opening, without holding them all."""
    found = select(INCIDENTS.c.state).where(condition).order_by(INCIDENTS.c.opened_at)
    yield from connection.execute(found.execution_options(yield_per=500)).scalars()


def tallies(connection: Connection) -> dict[str, dict[str, int]]:
    """Return how many incidents hold each value of the columns kind, activity, decision and case_state."""
    found: dict[str, dict[str, int]] = {name: {} for name in TALLIED}
    for field, value, count in connection.execute(select(TALLIES).where(TALLIES.c.count > 0)):
        found[field][value] = count
    return found


def confirmed_by_camera(connection: Connection, since: str) -> dict[str, int]:
    """Return how many incidents that opened since then (our UTC text) were confirmed, by camera."""
    found = (
        select(INCIDENTS.c.camera_id, func.count())
        .where(INCIDENTS.c.decision == Decision.CONFIRMED.value, INCIDENTS.c.opened_at >= since)
        .group_by(INCIDENTS.c.camera_id)
    )
    return {camera_id: count for camera_id, count in connection.execute(found)}  # noqa: C416  a row is no pair to mypy


def epochs(connection: Connection) -> list[Epoch]:
    """Return the epochs of the store, the newest last."""
    columns = (EPOCHS.c.epoch, EPOCHS.c.first_seq, EPOCHS.c.follows, EPOCHS.c.followed_until)
    found = connection.execute(select(*columns).order_by(EPOCHS.c.first_seq)).mappings()
    return [Epoch(**values) for values in found]


def rows(
    connection: Connection, condition: ColumnElement[bool], limit: int, *, newest: bool = False
) -> list[Row]:
    """Return at most `limit` rows of the journal that meet `condition`, in order: the first, or the newest, of them."""
    order = JOURNAL.c.seq.desc() if newest else JOURNAL.c.seq
    found = connection.execute(select(JOURNAL).where(condition).order_by(order).limit(limit)).mappings()
    return [_row(values) for values in found][:: -1 if newest else 1]


def outline(connection: Connection, after: int, limit: int) -> list[Outline]:
    """Return what at most `limit` rows after row `after` are, in order; their payloads are not read."""
    columns = (JOURNAL.c.seq, JOURNAL.c.incident_id, JOURNAL.c.revision, JOURNAL.c.message_id)
    found = select(*columns).where(JOURNAL.c.seq > after).order_by(JOURNAL.c.seq).limit(limit)
    return [Outline(*values) for values in connection.execute(found)]


def newest_message_row(connection: Connection) -> Row | None:
    """Return the newest row that is a message, or None."""
    found = select(JOURNAL).where(JOURNAL.c.message_id.is_not(None)).order_by(JOURNAL.c.seq.desc()).limit(1)
    values = connection.execute(found).mappings().first()
    return None if values is None else _row(values)


def last_seq(connection: Connection) -> int:
    """Return the number of the newest row, 0 in an empty journal."""
    return connection.execute(select(COUNTER.c.seq)).scalar() or 0


def _row(values: Any) -> Row:
    fields = dict(values)
    fields["at"] = parse_utc(fields["at"])
    fields["payload"] = None if fields["payload"] is None else json.loads(fields["payload"])
    return Row(**fields)
