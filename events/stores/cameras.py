# SPDX-License-Identifier: AGPL-3.0-or-later
"""Reads and writes the versions of cameras. Knows neither what a document says nor who may change one."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Select, delete, func, insert, select

from events.stores.schema import CAMERA_VERSIONS

_V = CAMERA_VERSIONS.c
_IDS_A_STATEMENT = 500  # SQLite and PostgreSQL bound the parameters of one


def newest_version(connection: Connection) -> int:
    """Return the newest version of all, 0 where there is none."""
    return connection.execute(select(func.max(_V.version))).scalar() or 0


def current(connection: Connection, origin: str | None = None) -> list[Mapping[str, Any]]:
    """Return the newest row of each camera, removed ones included, by id; of the rows of one origin where it is named."""
    newest = select(func.max(_V.version)).group_by(_V.camera_id)
    if origin is not None:
        newest = newest.where(_V.origin == origin)
    return _rows(connection, select(CAMERA_VERSIONS).where(_V.version.in_(newest)).order_by(_V.camera_id))


def history(connection: Connection, camera_id: str) -> list[Mapping[str, Any]]:
    """Return every row of one camera, oldest first."""
    return _rows(connection, select(CAMERA_VERSIONS).where(_V.camera_id == camera_id).order_by(_V.version))


def add(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write new rows."""
    if rows:
        connection.execute(insert(CAMERA_VERSIONS), [dict(row) for row in rows])


def outlines(connection: Connection, camera_ids: Collection[str]) -> list[tuple[str, int, str]]:
    """Return (camera, version, origin) of every row of these cameras, newest first."""
    found: list[tuple[str, int, str]] = []
    for ids in _portions(camera_ids):
        wanted = select(_V.camera_id, _V.version, _V.origin).where(_V.camera_id.in_(ids))
        found += [tuple(row) for row in connection.execute(wanted.order_by(_V.version.desc()))]
    return found


def forget_versions(connection: Connection, versions: Collection[int]) -> None:
    """Delete rows."""
    for some in _portions(versions):
        connection.execute(delete(CAMERA_VERSIONS).where(_V.version.in_(some)))


def forget_cameras(connection: Connection, camera_ids: Collection[str]) -> None:
    """Delete every row of these cameras."""
    for ids in _portions(camera_ids):
        connection.execute(delete(CAMERA_VERSIONS).where(_V.camera_id.in_(ids)))


def _rows(connection: Connection, statement: Select[Any]) -> list[Mapping[str, Any]]:
    return [dict(values) for values in connection.execute(statement).mappings()]


def _portions(values: Collection[Any]) -> list[list[Any]]:
    listed = list(values)
    return [listed[at : at + _IDS_A_STATEMENT] for at in range(0, len(listed), _IDS_A_STATEMENT)]
