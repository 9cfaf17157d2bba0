# SPDX-License-Identifier: AGPL-3.0-or-later
"""`gridwatch check`: every mistake at once, before anything runs."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from events.errors import StoreError
from events.grids import Grids
from events.registry import Origin, Registry
from gridwatch.app.cameras import load_cameras
from gridwatch.app.engine import asked_of, kinds_served, why_unserved
from gridwatch.app.register import Unserved, fields_of, may_have_cameras, read_registry, unserved_of
from gridwatch.app.settings import ModelSettings, Settings, load_settings
from gridwatch.app.storage import open_store
from gridwatch.core.camera import Camera, EvidenceFrom, Watch
from gridwatch.core.clock import SystemClock
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
        mistakes += _unserved(settings, cameras, entry)
    if mistakes:
        raise InputError("\n".join(mistakes))
    return len(cameras), sum(len(camera.zones) for camera in cameras), len(grids or ())


def advice(config: Path) -> list[str]:
    """Return what is no mistake and probably not meant: sessions that nobody needs, or too few for what is wanted.

    Raises:
        InputError: the configuration has mistakes.
    """
    settings, _ = load_settings(config)
    cameras = [one for one in _cameras(settings) or _registered(settings) if one.watch is Watch.ON]
    if not cameras:
        return []
    behind: dict[str, list[Camera]] = {}
    for camera in cameras:
        behind.setdefault(camera.reached_through, []).append(camera)
    told = (_told_of_sessions(name, n, behind.get(name, ())) for name, n in settings.ingest.sessions.items())
    return [f"ingest.sessions: {text}" for text in told if text]


def _told_of_sessions(name: str, sessions: int, cameras: Sequence[Camera]) -> str:
    if not cameras:
        return f"no camera is reached through {name!r}; write it as in `recorder`, or as the host (and port) of its addresses"
    second = [camera.evidence for camera in cameras if camera.sub_url is not None]
    always = second.count(EvidenceFrom.ALWAYS)
    if always and sessions < len(cameras) + always:
        return f"{name!r} has {len(cameras)} cameras and {always} main streams to be read always, for {sessions} sessions: the time before an incident is not kept in full"
    if len(second) > always and sessions <= len(cameras):
        return f"{name!r} has {len(cameras)} cameras for {sessions} sessions: none is left for their main streams, clips come from the second streams"
    return ""


def _registered(settings: Settings) -> list[Camera]:
    try:
        with open_store(settings, as_it_is=True) as store:
            return list(read_registry(Registry(store, SystemClock())).cameras)
    except (InputError, StoreError):  # a store that is away is no mistake of a file
        return []


def _cameras(settings: Settings) -> list[Camera]:
    """Return the file's cameras; none where there is no file, and a store whose register may hold them."""
    missing = not settings.cameras.is_file()
    return [] if missing and may_have_cameras(settings) else load_cameras(settings.cameras)


def _entry(models: ModelSettings) -> Entry:
    return Catalogue.load(models.catalogue).entry(models.network)


def _verify(models: ModelSettings, entry: Entry) -> None:
    Catalogue.load(models.catalogue).verify(entry)
    fitting_plans(survey(entry), asked_of(models), entry)


def _unserved(settings: Settings, cameras: list[Camera], entry: Entry) -> list[str]:
    """Return a sentence for each camera, of the file or the register, that is to be watched and the network cannot serve."""
    unserved = partial(why_unserved, kinds_served(entry.tells, entry.parts))
    problems = _unserved_registered(settings, unserved)
    problems |= {one.camera_id: unserved(one) if one.watch is Watch.ON else "" for one in cameras}
    return [
        f"camera {camera_id}: {problem}: take another network or other zones"
        for camera_id, problem in problems.items()
        if problem
    ]


def _unserved_registered(settings: Settings, unserved: Unserved) -> dict[str, str]:
    """Return what the network cannot serve of the register's cameras, by id; nothing where no store answers.

    What came from the file follows the file: where that is there, it alone is asked.
    """
    try:
        with open_store(settings, as_it_is=True) as store:
            _, versions = Registry(store, SystemClock()).cameras()
    except (InputError, StoreError):  # a store that is away is no mistake of a file
        return {}
    followed = settings.cameras.is_file()
    found = {
        one.camera_id: fields_of(one.document)[0]
        for one in versions
        if not (followed and one.origin == Origin.FILE)
    }
    return {camera_id: unserved_of(fields, unserved) for camera_id, fields in found.items() if fields}
