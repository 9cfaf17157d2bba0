# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which cameras are to be watched now: the register's, after cameras.yaml was taken into it, less those set aside."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import structlog

from events.registry import Registry
from gridwatch.app import set_aside
from gridwatch.app.register import Registered, Unserved, follow_configured, read_registry
from gridwatch.app.set_aside import SetAside
from gridwatch.core.camera import Camera, Watch
from gridwatch.core.errors import InputError

log = structlog.get_logger()


class Roll:
    """Reads the register, and notices when it, the file, or what is set aside has changed. For one thread.

    Args:
        file: cameras.yaml; need not be there where the register has cameras.
        state: the state folder, with the list of cameras that are set aside.
        unserved: tells why the network cannot serve a camera; one of the register is off then.
        others: watched beside the register's: the test camera.

    Attributes:
        cameras: as they were read last.
        aside: the cameras that are set aside, by id.
    """

    def __init__(
        self,
        registry: Registry,
        file: Path,
        state: Path,
        unserved: Unserved,
        others: Sequence[Camera] = (),
    ) -> None:
        self._registry, self._file, self._state, self._unserved = registry, file, state, unserved
        self._others = tuple(others)
        self._written = _written(file)
        self._known: Registered | None = None
        self.cameras: tuple[Camera, ...] = ()
        self.aside: dict[str, SetAside] = {}

    @property
    def unusable(self) -> Mapping[str, str]:
        """Why cameras of the register cannot be used, by id."""
        return self._known.unusable if self._known else {}

    def read(self) -> tuple[Camera, ...]:
        """Take the file into the register, and return what is to be watched.

        Raises:
            InputError: the file cannot be used and the register is empty, or the network cannot serve one of the others.
            StoreError: the store does not answer.
        """
        for camera in self._others:
            if problem := self._unserved(camera):
                raise InputError(f"camera {camera.camera_id}: {problem}")
        follow_configured(self._registry, self._file)
        self._known = read_registry(self._registry, unserved=self._unserved)
        for camera_id, problem in self._known.unusable.items():
            log.error("camera_unusable", camera_id=camera_id, problem=problem)
        self.aside = set_aside.load(self._state)
        self.cameras = self._listed(self._known)
        return self.cameras

    def changed(self) -> tuple[Camera, ...] | None:
        """Return the cameras if they are others now; what cannot be used leaves the last good ones.

        Raises:
            StoreError: the store does not answer.
        """
        self._follow()
        aside = set_aside.load(self._state)
        before = self._known
        if before is not None and aside == self.aside and self._registry.revision() == before.revision:
            return None
        known = read_registry(self._registry, before, self._unserved)
        for camera_id, problem in known.unusable.items():
            if before is None or before.unusable.get(camera_id) != problem:
                log.error("camera_unusable", camera_id=camera_id, problem=problem)
        self._known, self.aside = known, aside
        last, self.cameras = self.cameras, self._listed(known)
        return None if self.cameras == last else self.cameras

    def _follow(self) -> None:
        """Take the file into the register where it was written anew; a store that is away leaves that for the next time."""
        written = _written(self._file)
        if written is None or written == self._written:
            return
        try:
            follow_configured(self._registry, self._file)
        except InputError as error:
            log.error("cameras_not_read", file=str(self._file), problem=str(error))
        self._written = written

    def _listed(self, known: Registered) -> tuple[Camera, ...]:
        return *(self._unless_aside(camera) for camera in known.cameras), *self._others

    def _unless_aside(self, camera: Camera) -> Camera:
        return replace(camera, watch=Watch.OFF) if camera.camera_id in self.aside else camera


def _written(file: Path) -> tuple[int, int, int] | None:
    """Return what changes whenever a file is written or replaced; None while it is not there."""
    try:
        stat = file.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino
