# SPDX-License-Identifier: AGPL-3.0-or-later
"""Reads everything that the cameras' page shows, at one go. Blocks: call it in a thread."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from api.console.overview import Sight
from api.errors import UnknownCamera
from api.operations import Operations
from api.services import Services
from api.watching import SeenCamera
from events.alerts import AlertFilter, Decision
from events.errors import StoreError
from events.operations_alert import OperationsAlert
from gridwatch.core.camera import CameraStatus, Fault, SightState
from gridwatch.core.coverage import CameraDay

GROUPS_SHOWN: Final = 50
DAYS_SHOWN: Final = 14
_PENDING_COUNTED: Final = 100
_PARKED: Final = frozenset({SightState.OFF, SightState.MAINTENANCE})
_UNWANTED: Final = frozenset({Fault.SET_ASIDE, Fault.UNAUTHORIZED})  # it is off, and nobody switched it off
_ORDER: Final[Mapping[SightState, int]] = MappingProxyType(
    {
        SightState.BLIND: 0,
        SightState.DEGRADED: 1,
        SightState.SEEING: 2,
        SightState.MAINTENANCE: 3,
        SightState.OFF: 4,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CamerasSnapshot:
    """What the page shows.

    Attributes:
        pending: alerts that wait for a review; None while the store does not answer.
        groups: the open operations alerts, newest first; None while the store does not answer.
        cameras: those listed, what does not see first, each part in configuration order.
        more: how many more there are.
        chosen: the camera, or the operations alert, beside the list.
        days: of the chosen camera, newest first.
        counts: cameras by state.
    """

    sight: Sight
    pending: int | None
    groups: tuple[OperationsAlert, ...] | None
    cameras: tuple[SeenCamera, ...]
    more: int
    chosen: SeenCamera | OperationsAlert | None
    days: tuple[CameraDay, ...]
    counts: Mapping[SightState, int]

    @property
    def chosen_key(self) -> str | None:
        """What is beside the list: the id of an operations alert, or of a camera."""
        if self.chosen is None or isinstance(self.chosen, OperationsAlert):
            return self.chosen.alert_id if self.chosen else None
        return self.chosen.status.camera_id

    def keys(self) -> list[str]:
        """Return what may be chosen, as it stands in the list."""
        return [alert.alert_id for alert in self.groups or ()] + [
            camera.status.camera_id for camera in self.cameras
        ]

    def troubled(self) -> list[str]:
        """Return the listed cameras that somebody should look after."""
        return [camera.status.camera_id for camera in self.cameras if is_troubled(camera.status)]


class CamerasSnapshotReader:
    """Reads snapshots through the same operations as the routes."""

    def __init__(self, operations: Operations, services: Services) -> None:
        self._operations, self._services = operations, services

    def read(self, chosen_id: str | None, limit: int, *, only_troubled: bool) -> CamerasSnapshot:
        """Return what is to be shown now.

        Args:
            chosen_id: the camera or operations alert beside the list; None takes the first that is listed.
            limit: how many cameras are listed.
            only_troubled: list no camera that sees, or that somebody switched off.
        """
        statuses = self._operations.cameras()
        listed = sorted(statuses, key=lambda status: _ORDER[status.state])  # stable
        if only_troubled:
            listed = [status for status in listed if is_troubled(status)]
        cameras = tuple(self._operations.seen(listed[:limit]))
        groups, pending = self._groups(), self._pending()
        chosen = self._chosen(chosen_id, groups or (), cameras)
        days: Sequence[CameraDay] = ()
        if isinstance(chosen, SeenCamera):
            days = self._operations.days_of(chosen.status.camera_id)[:DAYS_SHOWN]
        return CamerasSnapshot(
            sight=self._sight(store_answers=pending is not None),
            pending=pending,
            groups=groups,
            cameras=cameras,
            more=max(0, len(listed) - limit),
            chosen=chosen,
            days=tuple(days),
            counts={state: sum(one.state is state for one in statuses) for state in SightState},
        )

    def _sight(self, *, store_answers: bool) -> Sight:
        return Sight(
            coverage=self._operations.coverage(),
            troubled=(),
            run_mode=self._services.run_mode,
            now=self._services.clock.now(),
            store_answers=store_answers,
        )

    def _groups(self) -> tuple[OperationsAlert, ...] | None:
        try:
            return self._operations.operations_alerts(None, None, GROUPS_SHOWN, open_only=True).items
        except StoreError:
            return None

    def _pending(self) -> int | None:
        wanted = AlertFilter(decision=Decision.PENDING)
        try:
            return len(self._operations.alerts(wanted, None, _PENDING_COUNTED).items)
        except StoreError:
            return None

    def _chosen(
        self, chosen_id: str | None, groups: Sequence[OperationsAlert], cameras: Sequence[SeenCamera]
    ) -> SeenCamera | OperationsAlert | None:
        for alert in groups:
            if alert.alert_id == chosen_id:
                return alert
        for camera in cameras:
            if camera.status.camera_id == chosen_id:
                return camera
        if chosen_id is not None:
            try:
                return self._operations.camera(chosen_id)
            except UnknownCamera:  # removed meanwhile; or an alert that ended
                pass
        if groups:
            return groups[0]
        return cameras[0] if cameras else None


def is_troubled(status: CameraStatus) -> bool:
    """Tell whether somebody should look after a camera: not if it sees, was switched off, or is a dome on patrol."""
    return not (
        status.state is SightState.SEEING
        or status.fault is Fault.ELSEWHERE
        or (status.state in _PARKED and status.fault not in _UNWANTED)
    )
