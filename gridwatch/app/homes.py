# SPDX-License-Identifier: AGPL-3.0-or-later
"""Keeps over restarts what each camera's picture is like: one that was moved, blurred or covered must not start as one that is well.

One small file a camera in the state folder, replaced as a whole. Its name follows from the camera's address and its
zones: who draws zones anew draws them on what the camera shows now, and all that is known of its picture is learned from then on.
"""

import hashlib
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

import numpy as np
import structlog

from gridwatch.core.camera import Camera
from ingest import kept
from ingest.kept import Home, Usual

log = structlog.get_logger()

_MAGIC: Final = b"gridwatch home 2\n"
_VIEWS_ALONE: Final = b"gridwatch home 1\n"  # of the version before: nothing of what is usual
_VIEW: Final = (90, 160)
_MOST_VIEWS: Final = 4
_DIGEST_BYTES: Final = 32
_LENGTH_BYTES: Final = 4
_MOST_BYTES: Final = (
    len(_MAGIC) + _DIGEST_BYTES + _LENGTH_BYTES + kept.MOST_BYTES + _MOST_VIEWS * _VIEW[0] * _VIEW[1]
)


class Homes:
    """What is known of the pictures of a machine's cameras. Safe for several threads.

    A file is a line that names its format, the SHA-256 of what follows, the length of what is usual (4 bytes, the least
    first), what is usual (see `ingest.kept`), and up to four views of 90 × 160 bytes. What was cut off, changed, or written by
    another version or somebody else is as good as nothing, and the log says so once.
    """

    def __init__(self, state: Path) -> None:
        self._folder = state / "homes"
        self._lock = threading.Lock()
        self._kept: dict[str, bytes] = {}  # digests of what stands in the files, by their names
        self._passed_over: set[str] = set()

    def load(self, camera: Camera) -> Home | None:
        """Return what was kept; None where there is nothing that can be used."""
        path = self._file(camera)
        try:
            with path.open("rb") as file:
                home = _home(file.read(_MOST_BYTES + 1))
        except OSError:
            return None
        if home is None and path.name not in self._passed_over:
            self._passed_over.add(path.name)
            log.warning(
                "home_passed_over", camera_id=camera.camera_id, reason="cut off, or not of this version"
            )
        return home

    def save(self, camera: Camera, home: Home) -> None:
        """Keep it; a disk that is full only costs the comparison with the time before a restart."""
        file, body = self._file(camera), _body(home)
        digest = hashlib.sha256(body).digest()
        if self._kept.get(file.name) == digest:
            return  # thousands of cameras, and most look as they did ten minutes ago
        scratch = file.with_suffix(".new")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            scratch.write_bytes(_MAGIC + digest + body)
            scratch.replace(file)
        except OSError as error:
            log.warning("home_not_kept", camera_id=camera.camera_id, reason=error.strerror)
        else:
            self._kept[file.name] = digest

    def keep(self, camera: Camera, home: Callable[[], Home | None]) -> None:
        """Keep what `home` returns now, if anything; never what `forget` was called for meanwhile."""
        with self._lock:
            found = home()
            if found is not None:
                self.save(camera, found)

    def forget(self, camera: Camera) -> None:
        """Remove a camera's view: it is not home any more, and must not be so again after a restart."""
        file = self._file(camera)
        with self._lock:
            self._kept.pop(file.name, None)
            try:
                file.unlink(missing_ok=True)
            except OSError as error:
                log.warning("home_not_forgotten", camera_id=camera.camera_id, reason=error.strerror)

    def prune(self, cameras: Iterable[Camera]) -> None:
        """Remove what was kept of all other cameras."""
        wanted = {self._file(camera).name for camera in cameras}
        with self._lock:
            self._passed_over &= wanted
            for name in self._kept.keys() - wanted:
                del self._kept[name]
            with suppress(OSError):  # no folder yet, or it cannot be read: nothing is lost but room
                for file in [one for one in self._folder.iterdir() if one.name not in wanted]:
                    with suppress(OSError):  # a folder, or another's: it stays
                        file.unlink(missing_ok=True)

    def _file(self, camera: Camera) -> Path:
        drawn = [(zone.zone_id, zone.polygon) for zone in camera.zones]
        told = repr((camera.camera_id, str(camera.looked_at), drawn)).encode()
        return self._folder / f"{hashlib.sha256(told).hexdigest()[:24]}.home"


def _body(home: Home) -> bytes:
    usual = kept.written(home.usual)
    return len(usual).to_bytes(_LENGTH_BYTES, "little") + usual + home.views.tobytes()


def _home(written: bytes) -> Home | None:
    """Return what a file's bytes hold, None where they are not whole."""
    head, digest = written[: len(_MAGIC)], written[len(_MAGIC) : len(_MAGIC) + _DIGEST_BYTES]
    body = written[len(_MAGIC) + _DIGEST_BYTES :]
    views_at = 0
    if head == _MAGIC:
        views_at = _LENGTH_BYTES + int.from_bytes(body[:_LENGTH_BYTES], "little")
    views = body[views_at:]
    count, rest = divmod(len(views), _VIEW[0] * _VIEW[1])
    known = head in {_MAGIC, _VIEWS_ALONE} and hashlib.sha256(body).digest() == digest
    if not known or rest or not 1 <= count <= _MOST_VIEWS:
        return None
    usual = kept.read(body[_LENGTH_BYTES:views_at]) if views_at else Usual()
    if usual is None:
        return None
    return Home(np.frombuffer(views, np.uint8).reshape(count, *_VIEW).copy(), usual)
