# SPDX-License-Identifier: AGPL-3.0-or-later
"""Switches faults on and off at the cameras of a running city, at once or later, for a while or until told.

Used inside the event loop that serves the city.
"""

import asyncio
import secrets
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

from gridwatch.core.errors import InputError
from gridwatch.simulator.faults import EVERYWHERE, FaultOrder, Value, Values, Where
from gridwatch.simulator.feed import Feed
from gridwatch.simulator.rtsp.broadcast import Broadcast
from gridwatch.simulator.rtsp.server import RtspServer
from gridwatch.simulator.rtsp.tamper import Door
from gridwatch.simulator.wire_faults import StreamFaults

SUB = "/sub"

_STATUS = {"unauthorized": 401, "not-found": 404, "busy": 453}
_ACTS = frozenset({"drop", "restart", "jump"})  # done once, or again and again; nothing of them lasts
_KEYLESS = frozenset({"endless-gop", "intra-refresh"})


def start_numbers() -> tuple[int, int, int]:
    """Return a random SSRC, first sequence number and first timestamp, as a camera draws them when it starts."""
    return secrets.randbits(32), secrets.randbits(16), secrets.randbits(20) + 1


@dataclass(slots=True)
class _Camera:
    """One camera and what is wrong with it. `picture` names the fault of its pictures: one at a time."""

    broadcast: Broadcast
    feed: Feed
    stream: StreamFaults = field(default_factory=StreamFaults)
    on: dict[str, Values] = field(default_factory=dict)
    timers: dict[tuple[str, bool], asyncio.TimerHandle] = field(default_factory=dict)
    picture: str = ""


class FaultBoard:
    """Knows which fault is on at which camera. `"*"` stands for all cameras of the city."""

    def __init__(self, server: RtspServer) -> None:
        self._server = server
        self._cameras: dict[str, _Camera] = {}
        self._counts: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()

    def add(self, broadcast: Broadcast, feed: Feed) -> None:
        """Take a camera in."""
        camera = self._cameras[broadcast.path] = _Camera(broadcast, feed)
        broadcast.tamper = camera.stream

    def close(self) -> None:
        """Forget what was to come."""
        for camera in self._cameras.values():
            for timer in camera.timers.values():
                timer.cancel()
            camera.timers.clear()
        for task in self._tasks:
            task.cancel()

    def on(self) -> dict[str, dict[str, dict[str, Value]]]:
        """Return the faults that are on, with their values, by camera."""
        return {
            path: {name: dict(values) for name, values in camera.on.items()}
            for path, camera in self._cameras.items()
            if camera.on
        }

    def switch(self, order: FaultOrder) -> list[str]:
        """Do as ordered; return the paths that it reached.

        Raises:
            InputError: there is no such camera, or it cannot have this fault.
        """
        reached = self._reached(order)
        for camera in reached:
            self._forget_timers(camera, order.kind.name)
            if order.on and order.seconds("after_s"):
                self._later(camera, order, order.seconds("after_s"), self._begin)
            elif order.on:
                self._begin(camera, order)
            else:
                self._end(camera, order)
        return [camera.broadcast.path for camera in reached]

    def _reached(self, order: FaultOrder) -> list[_Camera]:
        if order.camera == EVERYWHERE:
            return list(self._cameras.values())
        paths = [order.camera]
        if order.kind.where is Where.PICTURES:  # both streams of a camera look through one lens
            paths.append(order.camera + SUB)
        found = [self._cameras[path] for path in paths if path in self._cameras]
        if not found:
            raise InputError(f"there is no camera {order.camera!r}")
        return found

    def _begin(self, camera: _Camera, order: FaultOrder) -> None:
        if order.kind.name in _ACTS:
            self._act(camera, order)
        else:
            self._turn_on(camera, order)
        if order.seconds("for_s"):
            self._later(camera, order, order.seconds("for_s"), self._end)

    def _turn_on(self, camera: _Camera, order: FaultOrder) -> None:
        name, values = order.kind.name, order.values
        if order.kind.where is Where.PICTURES:
            self._show(camera, order)
        elif order.kind.where is Where.STREAM:
            camera.stream.switch(name, values)
        self._note(camera, name, values)
        self._set_door(camera)
        if values.get("cut"):
            self._server.cut(camera.broadcast)

    def _end(self, camera: _Camera, order: FaultOrder) -> None:
        name = order.kind.name
        self._forget_timers(camera, name)
        if name not in camera.on:
            return
        self._note(camera, name, None)
        if order.kind.where is Where.PICTURES:
            camera.feed.show(None)
            camera.broadcast.keyless = False
            camera.picture = ""
        elif order.kind.where is Where.STREAM:
            camera.stream.switch(name, None)
        self._set_door(camera)

    def _act(self, camera: _Camera, order: FaultOrder) -> None:
        name, broadcast = order.kind.name, camera.broadcast
        if name == "jump":
            broadcast.jump(order.seconds("by_s"))
        if name == "restart":
            broadcast.restart(*start_numbers())
        if name == "drop" or order.values.get("mode") == "reconnect":
            self._server.cut(broadcast)
        if order.seconds("every_s"):
            self._note(camera, name, order.values)
            self._later(camera, order, order.seconds("every_s"), self._act)

    def _show(self, camera: _Camera, order: FaultOrder) -> None:
        values = {key: value for key, value in order.values.items() if key in order.kind.values}
        camera.feed.show(order.kind.name, **values)
        if camera.picture not in {"", order.kind.name}:
            self._note(camera, camera.picture, None)
            self._forget_timers(camera, camera.picture)
        camera.picture = order.kind.name
        camera.broadcast.keyless = order.kind.name in _KEYLESS

    def _note(self, camera: _Camera, name: str, values: Values | None) -> None:
        """Keep what is on, and at how many cameras."""
        if camera.on.pop(name, None) is not None:
            self._counts[name] -= 1
        if values is not None:
            camera.on[name] = values
            self._counts[name] += 1

    def _set_door(self, camera: _Camera) -> None:
        door = camera.broadcast.door
        was_shut = door.shut
        _settle(door, camera.on)
        if door.shut != was_shut:
            self._run(self._server.listen(camera.broadcast.path, listening=not door.shut))
        # before a client has said which camera it wants it is received as all cameras receive, if they agree
        agreed = (name for name in camera.on if self._counts[name] == len(self._cameras))
        _settle(self._server.door, {name: camera.on[name] for name in agreed})

    def _later(
        self, camera: _Camera, order: FaultOrder, after_s: float, then: Callable[[_Camera, FaultOrder], None]
    ) -> None:
        """Do `then` later; a fault has one timer to go on by and one to end by."""
        timers, key = camera.timers, (order.kind.name, then == self._end)
        if key in timers:
            timers[key].cancel()
        timers[key] = asyncio.get_running_loop().call_later(after_s, then, camera, order)

    def _forget_timers(self, camera: _Camera, name: str) -> None:
        for key in ((name, False), (name, True)):
            timer = camera.timers.pop(key, None)
            if timer is not None:
                timer.cancel()

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _settle(door: Door, on: Mapping[str, Values]) -> None:
    door.shut = "refuse" in on
    door.deaf = "stall" in on
    door.status = next((status for name, status in _STATUS.items() if name in on), None)
    door.drip_s = float(on["slow-loris"]["every_s"]) if "slow-loris" in on else 0.0
