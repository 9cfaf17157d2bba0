# SPDX-License-Identifier: AGPL-3.0-or-later
"""`gridwatch check`: every mistake at once, before anything runs."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from events.grids import Grids
from gridwatch.app.cameras import load_cameras
from gridwatch.app.engine import asked_of, check_entry
from gridwatch.app.settings import ModelSettings, Settings, load_settings
from gridwatch.core.camera import Camera
from gridwatch.core.errors import InputError
from models.backends.choose import fitting_plans, survey
from models.catalogue import Catalogue, Entry

T = TypeVar("T")


def check_all(config: Path) -> tuple[int, int, int]:
    """Read a configuration and all that it names.

    Returns:
        How many cameras, zones and grids there are.

    Raises:
        InputError: with one sentence per mistake.
    """
    settings, _ = load_settings(config)
    mistakes: list[str] = []

    def attempt(read: Callable[[], T]) -> T | None:
        try:
            return read()
        except InputError as error:
            mistakes.append(str(error))
            return None

    attempt(lambda: settings.api.tls.check() if settings.api.tls else None)
    cameras = attempt(lambda: _cameras(settings)) or []
    grids = attempt(lambda: Grids.load(settings.grids) if settings.grids else Grids.none())
    entry = attempt(lambda: _entry(settings.models))
    if entry is not None:
        attempt(lambda: _verify(settings.models, entry))
        attempt(lambda: check_entry(entry, cameras))
    if mistakes:
        raise InputError("\n".join(mistakes))
    return len(cameras), sum(len(camera.zones) for camera in cameras), len(grids or ())


def _cameras(settings: Settings) -> list[Camera]:
    """Return the file's cameras; none where there is no file, and a store whose register may hold them."""
    registered = settings.store is not None or (settings.state / "gridwatch.db").is_file()
    return [] if registered and not settings.cameras.is_file() else load_cameras(settings.cameras)


def _entry(models: ModelSettings) -> Entry:
    return Catalogue.load(models.catalogue).entry(models.network)


def _verify(models: ModelSettings, entry: Entry) -> None:
    Catalogue.load(models.catalogue).verify(entry)
    fitting_plans(survey(entry), asked_of(models), entry)
