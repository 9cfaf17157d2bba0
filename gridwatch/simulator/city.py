# SPDX-License-Identifier: AGPL-3.0-or-later
"""A city without cameras: several feeds on one timeline, served as RTSP cameras, with a control channel beside them.

It is a process of its own (`serve`), so that a restart of whoever watches it does not restart what happens in it.
"""

import asyncio
import re
import secrets
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial

import structlog

from gridwatch.core.clock import Clock
from gridwatch.core.errors import InputError
from gridwatch.core.parent import when_parent_is_gone
from gridwatch.simulator.control import ControlServer, Json
from gridwatch.simulator.errors import FeedError
from gridwatch.simulator.feed import Ahead, Feed
from gridwatch.simulator.rtsp.broadcast import Broadcast
from gridwatch.simulator.rtsp.digest import Credentials
from gridwatch.simulator.rtsp.rtp import RtpSender
from gridwatch.simulator.rtsp.sdp import VideoMedia
from gridwatch.simulator.rtsp.server import RtspServer
from gridwatch.simulator.timeline import Timeline

_PATH = re.compile(r"[A-Za-z0-9._-]{1,64}(/[A-Za-z0-9._-]{1,64})*")
_EMPTY_POLL_S = 0.02
_JOIN_S = 3.0


@dataclass(frozen=True, slots=True)
class CityCamera:
    """One camera of the city. `path` is its URL's path, without a slash before it; `name` is for people."""

    path: str
    feed: Feed
    name: str = ""


@dataclass(frozen=True, slots=True)
class City:
    """What is served and where.

    Attributes:
        port, control_port: 0 asks for any free one.
        truth: what happens in the scenes, for checks: see `control` for what becomes of it.
    """

    cameras: Sequence[CityCamera]
    host: str = "127.0.0.1"
    port: int = 0
    credentials: Credentials | None = None
    control_port: int = 0
    truth: Sequence[Mapping[str, object]] = ()

    def __post_init__(self) -> None:
        paths = [camera.path for camera in self.cameras]
        for path in paths:
            if not _PATH.fullmatch(path):
                raise InputError(f"a camera's path is letters, digits, dots and dashes, got {path!r}")
        if not paths or len(set(paths)) != len(paths):
            raise InputError("a city needs at least one camera, and no two with the same path")


@dataclass(frozen=True, slots=True)
class Ports:
    """Where a running city listens, and `origin`: the wall time of second 0 of its timeline, seconds since 1970."""

    rtsp: int
    control: int
    origin: float


@dataclass(slots=True)
class _Running:
    """A camera that is being served."""

    camera: CityCamera
    ahead: Ahead
    broadcast: Broadcast

    def status(self) -> Json:
        media = self.broadcast.media
        return {
            "name": self.camera.name or self.camera.path,
            "path": self.camera.path,
            "width": media.width,
            "height": media.height,
            "fps": media.fps,
            "viewers": self.broadcast.viewers,
            "units_sent": self.broadcast.units,
            "units_skipped": self.camera.feed.skipped,
            "viewers_dropped": self.broadcast.dropped_viewers,
            "feed_failures": self.ahead.failures,
        }


@dataclass(slots=True)
class _Show:
    """A running city: its cameras' tasks and the answers of its control channel."""

    city: City
    timeline: Timeline
    running: list[_Running] = field(default_factory=list)

    async def open_feeds(self) -> None:
        for camera in self.city.cameras:
            ahead = Ahead(camera.path, camera.feed, self.timeline)
            try:
                media = await asyncio.to_thread(camera.feed.open, self.timeline.now_s())
            except FeedError as exc:
                raise InputError(f"camera {camera.path} cannot start: {exc}") from exc
            self.running.append(_Running(camera, ahead, _broadcast(camera.path, media)))
        for running in self.running:
            running.ahead.start()

    async def close_feeds(self) -> None:
        for running in self.running:
            running.ahead.stop()
        for running in self.running:
            await asyncio.to_thread(running.ahead.join, _JOIN_S)

    async def pace(self, running: _Running) -> None:
        """Send each unit of a camera when it is due."""
        ahead, timeline = running.ahead, self.timeline
        while True:
            unit = ahead.peek()
            if unit is None:
                await asyncio.sleep(_EMPTY_POLL_S)
                continue
            await asyncio.sleep(max(0.0, unit.due_s - timeline.now_s()))
            running.broadcast.publish(ahead.pop(), timeline.unix_s(unit.due_s))

    def answer_timeline(self) -> Json:
        return {
            "origin": self.timeline.unix_s(0.0),
            "now": self.timeline.now_s(),
            "cameras": [running.status() for running in self.running],
            "truth": [self._in_wall_time(event) for event in self.city.truth],
        }

    def _in_wall_time(self, event: Mapping[str, object]) -> Json:
        twins = {
            f"{name.removesuffix('_s')}_at": self.timeline.unix_s(value)
            for name, value in event.items()
            if name.endswith("_s") and isinstance(value, int | float)
        }
        return {**event, **twins}


@asynccontextmanager
async def running_city(city: City, clock: Clock) -> AsyncIterator[Ports]:
    """Serve `city` inside the running event loop while the context lasts.

    Raises:
        InputError: a clip cannot be served, or a port is taken.
    """
    show = _Show(city, Timeline.starting_now(clock))
    paths: dict[str, Broadcast] = {}
    rtsp, control = RtspServer(paths, city.credentials), ControlServer({"timeline": show.answer_timeline})
    tasks: list[asyncio.Task[None]] = []
    try:
        await show.open_feeds()
        paths.update((one.camera.path, one.broadcast) for one in show.running)
        tasks += [asyncio.create_task(show.pace(one)) for one in show.running]
        for task in tasks:
            task.add_done_callback(_tell_failure)
        yield await _listen(city, rtsp, control, show.timeline)
    finally:
        for task in tasks:
            task.cancel()
        await rtsp.close()
        await control.close()
        await show.close_feeds()
        await asyncio.gather(*tasks, return_exceptions=True)


def serve(city: City, ready: Callable[[Ports], None], *, clock: Clock, with_parent: bool = False) -> None:
    """Serve `city` until SIGTERM or SIGINT; with `with_parent` also until stdin ends. Call it in the main thread.

    Raises:
        InputError: a clip cannot be served, or a port is taken.
    """
    if not structlog.is_configured():  # standard output belongs to what `ready` prints
        structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    asyncio.run(_serve(city, ready, clock, with_parent=with_parent))


async def _serve(city: City, ready: Callable[[Ports], None], clock: Clock, *, with_parent: bool) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if with_parent:
        when_parent_is_gone(partial(_set_from_elsewhere, loop, stop))
    async with running_city(city, clock) as ports:
        ready(ports)
        await stop.wait()


def _tell_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (exc := task.exception()) is not None:
        context = {"message": "a camera's pace ended", "exception": exc, "task": task}
        task.get_loop().call_exception_handler(context)


def _set_from_elsewhere(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    with suppress(RuntimeError):  # the loop may have ended first
        loop.call_soon_threadsafe(stop.set)


async def _listen(city: City, rtsp: RtspServer, control: ControlServer, timeline: Timeline) -> Ports:
    port = city.port
    try:
        rtsp_port = await rtsp.open(city.host, port)
        port = city.control_port
        return Ports(rtsp_port, await control.open(port), timeline.unix_s(0.0))
    except OSError as exc:
        raise InputError(f"port {port} cannot be listened on ({exc.strerror}); choose another") from exc


def _broadcast(path: str, media: VideoMedia) -> Broadcast:
    sender = RtpSender(ssrc=secrets.randbits(32), sequence=secrets.randbits(16))
    return Broadcast(path, media, sender, start_timestamp=secrets.randbits(20) + 1)
