# SPDX-License-Identifier: AGPL-3.0-or-later
"""Keeps each camera's home view over restarts: a camera that was moved meanwhile must not start as one that was not.

One small file a camera in the state folder, replaced as a whole. Its name follows from the camera's address and its
zones: who draws zones anew draws them on what the camera shows now, and its home is learned from then on.
"""

import hashlib
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

import numpy as np
import structlog
from numpy.typing import NDArray

from gridwatch.core.camera import Camera

log = structlog.get_logger()

_MAGIC: Final = b"gridwatch home 1\n"
_VIEW: Final = (90, 160)
_MOST_VIEWS: Final = 4
_DIGEST_BYTES: Final = 32
_MOST_BYTES: Final = len(_MAGIC) + _DIGEST_BYTES + _MOST_VIEWS * _VIEW[0] * _VIEW[1]


class Homes:
    """The home views of a machine's cameras. Safe for several threads.

    A file is a line that names its format, the SHA-256 of what follows, and up to four views of 90 × 160 bytes. What was
    cut off, changed or made by somebody else is as good as nothing.
    """

    def __init__(self, state: Path) -> None:
        self._folder = state / "homes"
        self._lock = threading.Lock()
        self._kept: dict[str, bytes] = {}  # digests of what stands in the files, by their names

    def load(self, camera: Camera) -> NDArray[np.uint8] | None:
        """Return what was kept, (n, 90, 160) uint8; None where there is nothing that can be used."""
        try:
            with self._file(camera).open("rb") as file:
                return _views(file.read(_MOST_BYTES + 1))
        except OSError:
            return None

    def save(self, camera: Camera, view: NDArray[np.uint8]) -> None:
        """Keep a view; a disk that is full only costs the comparison with the time before a restart."""
        file, body = self._file(camera), view.tobytes()
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

    def keep(self, camera: Camera, home: Callable[[], NDArray[np.uint8] | None]) -> None:
        """Keep what `home` returns now, if it is a view; never what `forget` was called for meanwhile."""
        with self._lock:
            view = home()
            if view is not None:
                self.save(camera, view)

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
        """Remove the views of all other cameras."""
        wanted = {self._file(camera).name for camera in cameras}
        with self._lock:
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


def _views(written: bytes) -> NDArray[np.uint8] | None:
    """Return the views in a file's bytes, None where they are not whole."""
    head, digest = written[: len(_MAGIC)], written[len(_MAGIC) : len(_MAGIC) + _DIGEST_BYTES]
    body = written[len(_MAGIC) + _DIGEST_BYTES :]
    count, rest = divmod(len(body), _VIEW[0] * _VIEW[1])
    if head != _MAGIC or rest or not 1 <= count <= _MOST_VIEWS or hashlib.sha256(body).digest() != digest:
        return None
    return np.frombuffer(body, np.uint8).reshape(count, *_VIEW).copy()
