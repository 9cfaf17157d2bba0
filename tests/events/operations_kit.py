# SPDX-License-Identifier: AGPL-3.0-or-later
"""Cameras whose state a test sets, and the book of operations that is told of them."""

from events.operations import Operations
from events.operations_reading import OperationsReader
from gridwatch.core.camera import CameraStatus, Fault, SightState

STEP_S = 5.0


class City:
    """Cameras whose state a test sets, and the book that is told of them every five seconds."""

    def __init__(self, room, hosts):
        self.room, self.clock, self.hosts = room, room.clock, hosts
        self.states = {camera_id: self._status(camera_id) for camera_id in hosts}
        self.others = []
        self.restart()

    def restart(self):
        self.operations = Operations(self.room.store, self.clock)
        self.reader = OperationsReader(self.room.store)

    def _status(self, camera_id, state=SightState.SEEING, fault=None, **more):
        now = self.clock.now()
        values = {"camera_id": camera_id, "name": f"{camera_id} 号", "state": state, "since": now} | more
        reason = "" if fault is None else f"it is {fault.value}"
        return CameraStatus(
            **{"reason": reason, "last_look_at": None, "last_look_age_s": None, "fault": fault} | values
        )

    def break_down(self, *camera_ids, fault=Fault.UNREACHABLE, state=SightState.BLIND, **more):
        for camera_id in camera_ids:
            self.states[camera_id] = self._status(camera_id, state, fault, **more)

    def mend(self, *camera_ids):
        for camera_id in camera_ids:
            self.states[camera_id] = self._status(camera_id)

    def run(self, seconds):
        for _ in range(round(seconds / STEP_S)):
            self.clock.advance(STEP_S)
            self.operations.step(list(self.states.values()), self.hosts, self.others)

    def alerts(self, *, open_only=False):
        return self.reader.alerts(open_only=open_only).items

    def told(self):
        """Return (kind, where, count) of every open alert, the oldest first."""
        return [(one.kind.value, one.where, one.count) for one in reversed(self.alerts(open_only=True))]
