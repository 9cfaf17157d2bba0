# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is known of the cameras' sight: their states, their days, and what keeps them from seeing. Reads only.

That they are shown never waits for the store: while it does not answer, a camera's day is missing, its state is not.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

from api.services import Services
from events.errors import StoreError
from events.operations_reading import OperationsPage, OperationsReader
from events.times import CHINA
from events.troubles import TroubleKind
from gridwatch.core.camera import Camera, CameraStatus, Fault, SightState
from gridwatch.core.coverage import CameraDay

DAYS_SHOWN: Final = 31


@dataclass(frozen=True, slots=True)
class SeenCamera:
    """A camera's sight now, and what the register and the store know of it.

    Attributes:
        today: None while nothing of today is stored.
        run_mode: of its incidents.
    """

    status: CameraStatus
    place: str | None
    grid_id: str | None
    grid_name: str | None
    run_mode: str
    today: CameraDay | None


def is_away(status: CameraStatus) -> bool:
    """Tell whether a camera shows another view than its zones were drawn on: only then is there one to accept.

    One that is covered has its zones suspended too, and a cover must never become what its zones are drawn on.
    """
    return status.fault in {Fault.MOVED, Fault.ELSEWHERE}


@dataclass(frozen=True, slots=True)
class CamerasWanted:
    """Which cameras; None means any."""

    state: SightState | None = None
    fault: Fault | None = None
    grid_id: str | None = None


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much is seen: the proof beside every list. A camera for exercises is not counted.

    Attributes:
        seeing: cameras whose looks are answered; a degraded camera is not one of them.
        not_covered: all others: degraded, elsewhere, blind, off, in maintenance.
        oldest_look_s: the largest age of a seeing camera's last look; None where none sees, or one has no look yet.
    """

    cameras: int
    seeing: int
    blind: int
    not_covered: int
    oldest_look_s: float | None


class Watching:
    """Reads what `Operations` shows of cameras. Every method blocks."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._reader = OperationsReader(services.alerts.store)

    def coverage(self) -> Coverage:
        """Return what is seen now."""
        places = self._services.places()
        mode = self._services.run_mode
        return coverage_of(
            [
                status
                for status in self._services.live.statuses()
                if _run_mode(places.get(status.camera_id), mode) == mode
            ]
        )

    def statuses(self, wanted: CamerasWanted) -> Sequence[CameraStatus]:
        """Return the cameras that are wanted, in configuration order."""
        found = self._services.live.statuses()
        if wanted.state is not None:
            found = [status for status in found if status.state is wanted.state]
        if wanted.fault is not None:
            found = [status for status in found if status.fault is wanted.fault]
        if wanted.grid_id is not None:
            places = self._services.places()
            found = [
                status for status in found if self._grid(places.get(status.camera_id))[0] == wanted.grid_id
            ]
        return found

    def seen(self, statuses: Sequence[CameraStatus]) -> list[SeenCamera]:
        """Return cameras with their place, grid and day."""
        places = self._services.places()
        days = self._of_today([status.camera_id for status in statuses])
        return [self._seen(status, places.get(status.camera_id), days) for status in statuses]

    def days_of(self, camera_id: str) -> Sequence[CameraDay]:
        """Return a camera's last days, newest first; none while the store does not answer."""
        try:
            return self._reader.days_of(camera_id, DAYS_SHOWN)
        except StoreError:
            return []

    def alerts(
        self, kind: TroubleKind | None, cursor: str | None, limit: int, *, open_only: bool
    ) -> OperationsPage:
        """Return a page of operations alerts, newest first."""
        return self._reader.alerts(kind, cursor, limit, open_only=open_only)

    def _seen(self, status: CameraStatus, camera: Camera | None, days: Mapping[str, CameraDay]) -> SeenCamera:
        grid_id, grid_name = self._grid(camera)
        return SeenCamera(
            status=status,
            place=camera.place if camera else None,
            grid_id=grid_id,
            grid_name=grid_name,
            run_mode=_run_mode(camera, self._services.run_mode),
            today=days.get(status.camera_id),
        )

    def _grid(self, camera: Camera | None) -> tuple[str | None, str | None]:
        grid = self._services.grids.locate(camera.location) if camera else None
        return (grid.grid_id, grid.name) if grid else (None, None)

    def _of_today(self, camera_ids: Sequence[str]) -> Mapping[str, CameraDay]:
        today: date = self._services.clock.now().astimezone(CHINA).date()
        try:
            return self._reader.of_day(today, camera_ids)
        except StoreError:
            return {}


def coverage_of(statuses: Sequence[CameraStatus]) -> Coverage:
    """Sum up what is seen."""
    seeing = [status for status in statuses if status.state is SightState.SEEING]
    ages = [status.last_look_age_s for status in seeing if status.last_look_age_s is not None]
    return Coverage(
        cameras=len(statuses),
        seeing=len(seeing),
        blind=sum(status.state is SightState.BLIND for status in statuses),
        not_covered=len(statuses) - len(seeing),
        oldest_look_s=round(max(ages), 1) if ages and len(ages) == len(seeing) else None,
    )


def _run_mode(camera: Camera | None, usual: str) -> str:
    return (camera.run_mode if camera else None) or usual
