# SPDX-License-Identifier: AGPL-3.0-or-later
"""Cameras whose streams crashed the decoder: noted by the parent, set aside after the second crash, resumed by a person.

One small JSON file in the state folder, so that it holds across restarts of everything. It is replaced as a whole, and a
lock beside it lets the parent and a command change it at the same time.
"""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import structlog

log = structlog.get_logger()

FILE: Final = "set_aside.json"
CRASHES_ALLOWED: Final = 1  # by chance an innocent camera is in the decoder beside the one that crashes it
FORGOTTEN_AFTER: Final = timedelta(days=7)
MOST: Final = 1_000  # cameras in each of the two lists


@dataclass(frozen=True, slots=True)
class SetAside:
    """A camera that is not connected to until somebody resumes it.

    Attributes:
        at: when, ISO 8601, UTC.
        reason: one phrase for people.
        crashes: how often its packets were in the decoder when that crashed.
    """

    at: str
    reason: str
    crashes: int


@dataclass(slots=True)
class _Book:
    """What the file holds: crashes so far of cameras that are still watched, and those that are set aside."""

    crashes: dict[str, list[str]]
    set_aside: dict[str, SetAside]


def load(state: Path) -> dict[str, SetAside]:
    """Return the cameras that are set aside; empty where there are none."""
    return _read(state).set_aside


def note_crash(state: Path, cameras: Sequence[str], at: datetime, cause: str) -> list[str]:
    """Note that these cameras were being decoded when the process crashed; return those that are set aside now.

    Args:
        state: the state folder.
        cameras: ids, as the page named them.
        at: when, aware UTC.
        cause: the signal, for people.

    Raises:
        OSError: the file cannot be written.
    """
    with _changing(state) as book:
        new = []
        for camera_id in cameras:
            if camera_id in book.set_aside:
                continue
            times = [*_recent(book.crashes.pop(camera_id, []), at), at.isoformat(timespec="seconds")]
            if len(times) <= CRASHES_ALLOWED:
                book.crashes[camera_id] = times
                continue
            reason = f"the decoder crashed {len(times)} times while it had this stream ({cause})"
            book.set_aside[camera_id] = SetAside(times[-1], reason, len(times))
            new.append(camera_id)
        for camera_id in list(book.crashes):
            if not _recent(book.crashes[camera_id], at):
                del book.crashes[camera_id]
    return new


def resume(state: Path, camera_id: str) -> bool:
    """Let a camera be watched again, with no crash on its account; tell whether it was set aside or had one.

    Raises:
        OSError: the file cannot be written.
    """
    with _changing(state) as book:
        was = book.set_aside.pop(camera_id, None)
        had = book.crashes.pop(camera_id, None)
    return was is not None or had is not None


def _recent(times: Sequence[str], now: datetime) -> list[str]:
    return [text for text in times if now - datetime.fromisoformat(text) < FORGOTTEN_AFTER]


@contextlib.contextmanager
def _changing(state: Path) -> Iterator[_Book]:
    state.mkdir(parents=True, exist_ok=True)
    with (state / f"{FILE}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        book = _read(state)
        yield book
        _write(state / FILE, book)


def _read(state: Path) -> _Book:
    file = state / FILE
    try:
        return _book(json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return _Book({}, {})
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        # A crash must be survived with a broken file too; the next one that is noted writes it anew.
        log.error("set_aside_not_read", file=str(file), problem=type(error).__name__)
        return _Book({}, {})


def _book(data: Mapping[str, Any]) -> _Book:
    crashes = {
        str(camera_id): [datetime.fromisoformat(text).isoformat(timespec="seconds") for text in times]
        for camera_id, times in data["crashes"].items()
    }
    aside = {
        str(camera_id): SetAside(str(one["at"]), str(one["reason"]), int(one["crashes"]))
        for camera_id, one in data["set_aside"].items()
    }
    return _Book(crashes, aside)


def _write(file: Path, book: _Book) -> None:
    """Replace the file, the newest of each list in it."""
    data = {
        "crashes": dict(list(book.crashes.items())[-MOST:]),
        "set_aside": {one: asdict(entry) for one, entry in list(book.set_aside.items())[-MOST:]},
    }
    fresh = file.with_suffix(".new")
    with fresh.open("w", encoding="utf-8") as out:
        json.dump(data, out, ensure_ascii=False, indent=1)
        out.flush()
        os.fsync(out.fileno())
    fresh.replace(file)
