# SPDX-License-Identifier: AGPL-3.0-or-later
"""The register of cameras in the store: every change a version, with who made it and when.

A camera's document is JSON that the caller understands (`gridwatch.app.cameras`); here it is compared and kept, never
read. Credentials are not in it: where one is needed, the document names an environment variable.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import Connection

from events.journal import canonical
from events.stores import cameras as rows
from events.stores.sql import Store
from events.times import parse_utc, utc_text
from gridwatch.core.clock import Clock
from gridwatch.core.errors import InputError

MOST_CAMERAS: Final = 20_000
MOST_REMOVED: Final = 5_000  # of which it is remembered that they were there
VERSIONS_KEPT: Final = 20  # of one camera, beside what the configured file said last
LONGEST_DOCUMENT: Final = 64 * 1024  # bytes


class Origin(StrEnum):
    """How a version came in."""

    FILE = "file"  # the file that the configuration names, read at the start
    IMPORT = "import"  # a command of a person


@dataclass(frozen=True, slots=True)
class CameraVersion:
    """One version of one camera.

    Attributes:
        version: rises by one a change, over all cameras together.
        document: what the camera is, JSON; of a removed one what it was.
        removed: it is no camera of this machine any more.
        origin: how the version came in; a plain word where another version of gridwatch wrote it.
        actor: who did it.
        at: when, UTC.
    """

    version: int
    camera_id: str
    document: Mapping[str, Any]
    removed: bool
    origin: str
    actor: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Changes:
    """What a set of documents did to the register, as ids in their order.

    Attributes:
        kept: the file says what it said before, and somebody changed the camera since by other means: that stands.
    """

    added: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Draft:
    """A version that is to be written."""

    camera_id: str
    document: str
    removed: bool


class Registry:
    """The cameras of one store. Safe for several threads and processes; every method may raise `StoreError`."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store, self._clock = store, clock

    def revision(self) -> int:
        """Return the newest version of all, 0 where there is none: it rises whenever any camera changes."""
        with self._store.read() as connection:
            return rows.newest_version(connection)

    def cameras(self) -> tuple[int, list[CameraVersion]]:
        """Return the revision, and every camera that is not removed as it is in it, by id."""
        with self._store.read() as connection:
            found = rows.current(connection)
            revision = rows.newest_version(connection)
        return revision, [_version(row) for row in found if not row["removed"]]

    def history(self, camera_id: str) -> list[CameraVersion]:
        """Return what is kept of one camera's versions, oldest first; empty where it was never known."""
        with self._store.read() as connection:
            return [_version(row) for row in rows.history(connection, camera_id)]

    def put(
        self,
        documents: Mapping[str, Mapping[str, Any]],
        actor: str,
        *,
        replace: bool = False,
        dry: bool = False,
    ) -> Changes:
        """Take cameras in by a person's command; return what that did.

        Args:
            documents: by camera id.
            actor: who does it.
            replace: every camera that is not among them is removed.
            dry: tell only, change nothing.

        Raises:
            InputError: there would be too many cameras, or one is too large.
        """
        texts = _texts(documents)
        with self._store.write() as tx:
            known = {row["camera_id"]: row for row in rows.current(tx.connection)}
            changes = _compared(texts, known)
            if replace:
                changes.removed.extend(_missing(texts, known))
            if not dry:
                self._write(tx.connection, known, _drafts(changes, texts, known), Origin.IMPORT, actor)
        return changes

    def follow(self, documents: Mapping[str, Mapping[str, Any]], actor: str) -> Changes:
        """Take in what the configured file says, where it says something else than it said last; return what that did.

        So it may be read at every start: a camera that somebody changed by a command since stays as that one left it
        until the file itself changes, and one that leaves the file is removed unless a command put it in since.

        Raises:
            InputError: there would be too many cameras, or one is too large.
        """
        texts = _texts(documents)
        with self._store.write() as tx:
            known = {row["camera_id"]: row for row in rows.current(tx.connection)}
            said = {row["camera_id"]: row for row in rows.current(tx.connection, Origin.FILE)}
            changes = _followed(texts, known, said)
            self._write(tx.connection, known, _drafts(changes, texts, known), Origin.FILE, actor)
        return changes

    def _write(
        self,
        connection: Connection,
        known: Mapping[str, Mapping[str, Any]],
        drafts: list[_Draft],
        origin: Origin,
        actor: str,
    ) -> None:
        if not drafts:
            return
        after = {camera_id for camera_id, row in known.items() if not row["removed"]}
        after |= {draft.camera_id for draft in drafts if not draft.removed}
        after -= {draft.camera_id for draft in drafts if draft.removed}
        if len(after) > MOST_CAMERAS:
            raise InputError(
                f"{MOST_CAMERAS} cameras are the most that one machine takes; these would be {len(after)}"
            )
        first, at = rows.newest_version(connection) + 1, utc_text(self._clock.now())
        rows.add(
            connection,
            [
                {
                    "version": first + index,
                    "camera_id": draft.camera_id,
                    "document": draft.document,
                    "removed": draft.removed,
                    "origin": origin.value,
                    "actor": actor,
                    "at": at,
                }
                for index, draft in enumerate(drafts)
            ],
        )
        _prune(connection, {draft.camera_id for draft in drafts})


def too_large(document: Mapping[str, Any]) -> str:
    """Return why a camera's document is too large to be kept; empty where it is not."""
    return _too_large(canonical(dict(document)))


def _texts(documents: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    texts = {camera_id: canonical(dict(document)) for camera_id, document in documents.items()}
    for camera_id, text in texts.items():
        if problem := _too_large(text):
            raise InputError(f"camera {camera_id!r} {problem}")
    return {camera_id: text.decode() for camera_id, text in texts.items()}


def _too_large(text: bytes) -> str:
    return f"is described in more than {LONGEST_DOCUMENT // 1024} KiB" if len(text) > LONGEST_DOCUMENT else ""


def _is(row: Mapping[str, Any] | None, text: str) -> bool:
    return row is not None and not row["removed"] and row["document"] == text


def _there(row: Mapping[str, Any] | None) -> bool:
    return row is not None and not row["removed"]


def _compared(texts: Mapping[str, str], known: Mapping[str, Mapping[str, Any]]) -> Changes:
    changes = Changes()
    for camera_id, text in texts.items():
        _sort_in(changes, camera_id, known.get(camera_id), text)
    return changes


def _sort_in(changes: Changes, camera_id: str, row: Mapping[str, Any] | None, text: str) -> None:
    into = changes.unchanged if _is(row, text) else changes.changed if _there(row) else changes.added
    into.append(camera_id)


def _followed(
    texts: Mapping[str, str], known: Mapping[str, Mapping[str, Any]], said: Mapping[str, Mapping[str, Any]]
) -> Changes:
    changes = Changes()
    for camera_id, text in texts.items():
        row = known.get(camera_id)
        if _is(said.get(camera_id), text) and not _is(row, text):
            changes.kept.append(camera_id)
        elif _is(row, text) and camera_id in said and not _is(said[camera_id], text):
            # A command said it first. That the file says it too is recorded, so that its next change is known for one.
            changes.changed.append(camera_id)
        else:
            _sort_in(changes, camera_id, row, text)
    for camera_id in _missing(texts, {one: row for one, row in known.items() if _there(said.get(one))}):
        into = changes.removed if known[camera_id]["origin"] == Origin.FILE else changes.kept
        into.append(camera_id)
    return changes


def _missing(texts: Collection[str], known: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return [camera_id for camera_id, row in known.items() if _there(row) and camera_id not in texts]


def _drafts(
    changes: Changes, texts: Mapping[str, str], known: Mapping[str, Mapping[str, Any]]
) -> list[_Draft]:
    written = [_Draft(one, texts[one], removed=False) for one in (*changes.added, *changes.changed)]
    return written + [_Draft(one, known[one]["document"], removed=True) for one in changes.removed]


def _prune(connection: Connection, touched: Collection[str]) -> None:
    """Forget what is too much: old versions of cameras that changed, and the cameras that were removed longest ago."""
    kept: dict[str, int] = {}
    of_file: set[str] = set()
    surplus: list[int] = []
    for camera_id, version, origin in rows.outlines(connection, touched):
        kept[camera_id] = kept.get(camera_id, 0) + 1
        says_file = origin == Origin.FILE and camera_id not in of_file
        if kept[camera_id] > VERSIONS_KEPT and not says_file:
            surplus.append(version)
        if says_file:
            of_file.add(camera_id)
    rows.forget_versions(connection, surplus)
    removed = sorted(
        (row for row in rows.current(connection) if row["removed"]), key=lambda row: row["version"]
    )
    rows.forget_cameras(
        connection, [row["camera_id"] for row in removed[: max(0, len(removed) - MOST_REMOVED)]]
    )


def _version(row: Mapping[str, Any]) -> CameraVersion:
    return CameraVersion(
        version=row["version"],
        camera_id=row["camera_id"],
        document=json.loads(row["document"]),
        removed=bool(row["removed"]),
        origin=row["origin"],
        actor=row["actor"],
        at=parse_utc(row["at"]),
    )
