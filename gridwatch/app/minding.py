# SPDX-License-Identifier: AGPL-3.0-or-later
"""The one thread that minds what stands beside the flow of pictures, every few seconds.

It takes changes of the cameras' register over, makes operations alerts of lasting faults, counts what was covered, keeps
home views, and makes the exercises of the canary. It touches no picture and holds nobody up: the store may be away.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog

from events.errors import StoreError
from events.operations import Operations
from events.troubles import Trouble, TroubleKind, own_trouble
from gridwatch.app.canary import Canary
from gridwatch.app.homes import Homes
from gridwatch.app.live import Shard
from gridwatch.core.camera import Camera
from gridwatch.core.clock import Clock
from ingest.coverage import Coverage

log = structlog.get_logger()

STEP_S = 5.0
DAYS_EVERY_S = 60.0
HOMES_EVERY_S = 600.0
HISTORY_EVERY_S = 900.0
HISTORY = timedelta(days=30)  # of confirmed incidents: where there were some, cameras are visited more often
DEVICE = "inference"


@dataclass(slots=True)
class Minder:
    """Steps everything of one shard that has time; its thread is `run`.

    Attributes:
        cameras_now: returns the cameras to be watched when they have changed, None while they are the same.
        canary: None where no exercises are made.
        confirmed_since: counts what operators confirmed, by camera; None where no camera takes turns.
    """

    shard: Shard
    operations: Operations
    coverage: Coverage
    homes: Homes
    clock: Clock
    cameras_now: Callable[[], Sequence[Camera] | None]
    canary: Canary | None = None
    confirmed_since: Callable[[datetime], Mapping[str, int]] | None = None
    _due: dict[str, float] = field(default_factory=dict, init=False)
    _wanted: Sequence[Camera] | None = field(default=None, init=False)

    def run(self, stop: threading.Event) -> None:
        """Step until told to stop, then keep what is worth keeping."""
        while not stop.wait(STEP_S):
            self.step()
        self._attempt(self._keep_days)
        self._attempt(self._keep_homes)

    def step(self) -> None:
        """Do what is due now."""
        self._attempt(self._take_cameras)
        if self.canary is not None:
            self._attempt(self.canary.step)
        self._attempt(self._operate)
        if self._is_due("days", DAYS_EVERY_S):
            self._attempt(self._keep_days)
        if self._is_due("homes", HOMES_EVERY_S):
            self._attempt(self._keep_homes)
        if self.confirmed_since is not None and self._is_due("history", HISTORY_EVERY_S):
            self._attempt(self._weigh)

    def _take_cameras(self) -> None:
        cameras = self.cameras_now()
        if cameras is not None:
            self._wanted = cameras
        if self._wanted is not None:  # also those that could not be taken the last time
            added, changed, removed = self.shard.set_cameras(self._wanted)
            self._wanted = None
            log.info("cameras_taken", added=added, changed=changed, removed=removed)

    def _operate(self) -> None:
        statuses = self.shard.statuses()
        self.coverage.step(statuses)
        self.operations.step(statuses, self._hosts(), self._others())

    def _hosts(self) -> Mapping[str, str]:
        return {camera.camera_id: camera.reached_through for camera in self.shard.cameras()}

    def _others(self) -> list[Trouble]:
        found = [] if self.canary is None else self.canary.troubles()
        device = self.shard.service.device
        if (lost_s := device.lost_for_s()) > 0:
            began_at = self.clock.now() - timedelta(seconds=lost_s)
            found.append(own_trouble(TroubleKind.INFERENCE, DEVICE, device.trouble, began_at))
        return found

    def _keep_days(self) -> None:
        self.operations.add_days(self.coverage.take())

    def _weigh(self) -> None:
        if self.confirmed_since is not None:
            self.shard.weigh(self.confirmed_since(self.clock.now() - HISTORY))

    def _keep_homes(self) -> None:
        self.shard.keep_homes(self.homes)

    def _is_due(self, what: str, every_s: float) -> bool:
        now = self.clock.mono_s()
        due = self._due.setdefault(what, now + every_s)
        if now < due:
            return False
        self._due[what] = now + every_s
        return True

    def _attempt(self, step: Callable[[], object]) -> None:
        try:
            step()
        except StoreError as error:
            log.warning("minding_waits", reason=str(error))
        except Exception:  # it minds several things: a mistake in one must not end the others
            log.exception("minding_failed")
