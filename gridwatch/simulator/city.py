# SPDX-License-Identifier: AGPL-3.0-or-later
"""A city without cameras: several feeds on one timeline, served as RTSP cameras, with a control channel beside them.

It is a process of its own (`serve`), so that a restart of whoever watches it does not restart what happens in it.
"""

import asyncio
import re
import resource
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
from gridwatch.simulator.fault_board import FaultBoard, start_numbers
from gridwatch.simulator.faults import FaultOrder, fault_kinds, order_from
from gridwatch.simulator.feed import Ahead, Feed
from gridwatch.simulator.pacer import Paced, Pacer
from gridwatch.simulator.rtsp.auth import Scheme
from gridwatch.simulator.rtsp.broadcast import Broadcast
from gridwatch.simulator.rtsp.digest import Credentials
from gridwatch.simulator.rtsp.media import VideoMedia
from gridwatch.simulator.rtsp.rtp import RtpSender
from gridwatch.simulator.rtsp.server import RtspServer
from gridwatch.simulator.timeline import Timeline

_PATH = re.compile(r"[A-Za-z0-9._-]{1,64}(/[A-Za-z0-9._-]{1,64})*")
_JOIN_S = 3.0


@dataclass(frozen=True, slots=True)
class CityCamera:
    """One camera of the city.

    Attributes:
        path: its URL's path, without a slash before it.
        name: for people.
        own: host and port of an address of its own beside the city's, port 0 for any free one; None: it has none.
    """

    path: str
    feed: Feed
    name: str = ""
    own: tuple[str, int] | None = None


@dataclass(frozen=True, slots=True)
class City:
    """What is served and where.

    Attributes:
        port, control_port: 0 asks for any free one.
        truth: what happens in the scenes, for checks: see `control` for what becomes of it.
        scheme: which authentication is asked for where there are credentials.
        faults: switched on at the start; more can be switched by the control channel.
    """

    cameras: Sequence[CityCamera]
    host: str = "127.0.0.1"
    port: int = 0
    credentials: Credentials | None = None
    control_port: int = 0
    truth: Sequence[Mapping[str, object]] = ()
    scheme: Scheme = "digest"
    faults: Sequence[FaultOrder] = ()

    def __post_init__(self) -> None:
        paths = [camera.path for camera in self.cameras]
        for path in paths:
            if not _PATH.fullmatch(path):
                raise InputError(f"a camera's path is letters, digits, dots and dashes, got {path!r}")
        if not paths or len(set(paths)) != len(paths):
            raise InputError("a city needs at least one camera, and no two with the same path")


@dataclass(frozen=True, slots=True)
class Ports:
    """Where a running city listens.

    Attributes:
        origin: the wall time of second 0 of its timeline, seconds since 1970.
        own: host and port of the cameras that have an address of their own, by path.
    """

    rtsp: int
    control: int
    origin: float
    own: Mapping[str, tuple[str, int]] = field(default_factory=dict)


@dataclass(slots=True)
class _Running:
    """A camera that is being served."""

    camera: CityCamera
    paced: Paced

    @property
    def broadcast(self) -> Broadcast:
        return self.paced.broadcast

    def status(self) -> Json:
        media = self.broadcast.media
        return {
            "name": self.camera.name or self.camera.path,
            "path": self.camera.path,
            "width": media.width,
            "height": media.height,
            "fps": media.fps,
            "codec": media.codec,
            "viewers": self.broadcast.viewers,
            "units_sent": self.broadcast.units,
            "units_skipped": self.camera.feed.skipped,
            "viewers_dropped": self.broadcast.dropped_viewers,
            "feed_failures": self.paced.ahead.failures,
            "latest_s": round(self.paced.late_s, 3),
        }


@dataclass(slots=True)
class _Show:
    """A running city: its cameras' tasks and the answers of its control channel."""

    city: City
    timeline: Timeline
    board: FaultBoard
    running: list[_Running] = field(default_factory=list)

    async def open_feeds(self) -> None:
        for camera in self.city.cameras:
            ahead = Ahead(camera.path, camera.feed, self.timeline)
            try:
                media = await asyncio.to_thread(camera.feed.open, self.timeline.now_s())
            except FeedError as exc:
                raise InputError(f"camera {camera.path} cannot start: {exc}") from exc
            broadcast = _broadcast(camera.path, media)
            self.board.add(broadcast, camera.feed)
            self.running.append(_Running(camera, Paced(ahead, broadcast)))
        for running in self.running:
            running.paced.ahead.start()

    async def close_feeds(self) -> None:
        for running in self.running:
            running.paced.ahead.stop()
        for running in self.running:
            await asyncio.to_thread(running.paced.ahead.join, _JOIN_S)

    def answers(self) -> Mapping[str, Callable[[Json], Json]]:
        return {"timeline": self.answer_timeline, "faults": self.answer_faults, "fault": self.answer_fault}

    def answer_timeline(self, _: Json) -> Json:
        return {
            "origin": self.timeline.unix_s(0.0),
            "now": self.timeline.now_s(),
            "cameras": [running.status() for running in self.running],
            "truth": [self._in_wall_time(event) for event in self.city.truth],
        }

    def answer_faults(self, _: Json) -> Json:
        kinds = fault_kinds().values()
        return {"faults": [kind.as_json() for kind in kinds], "on": self.board.on()}

    def answer_fault(self, asked: Json) -> Json:
        order = order_from(asked)
        return {"cameras": self.board.switch(order), "fault": order.kind.name, "on": order.on}

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
    paths: dict[str, Broadcast] = {}
    rtsp = RtspServer(paths, city.credentials, scheme=city.scheme)
    show = _Show(city, Timeline.starting_now(clock), FaultBoard(rtsp))
    control = ControlServer(show.answers())
    pace: asyncio.Task[None] | None = None
    try:
        await show.open_feeds()
        paths.update((one.camera.path, one.broadcast) for one in show.running)
        pace = asyncio.create_task(Pacer([one.paced for one in show.running], show.timeline).run())
        yield await _listen(city, rtsp, control, show)
    finally:
        show.board.close()
        if pace is not None:
            pace.cancel()
            await asyncio.gather(pace, return_exceptions=True)
        await rtsp.close()
        await control.close()
        await show.close_feeds()


def serve(city: City, ready: Callable[[Ports], None], *, clock: Clock, with_parent: bool = False) -> None:
    """Serve `city` until SIGTERM or SIGINT; with `with_parent` also until stdin ends. Call it in the main thread.

    Raises:
        InputError: a clip cannot be served, or a port is taken.
    """
    if not structlog.is_configured():  # standard output belongs to what `ready` prints
        structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    _open_many_files()
    asyncio.run(_serve(city, ready, clock, with_parent=with_parent))


def _open_many_files() -> None:
    """Ask for as many open files as the system allows: a viewer is one, and the usual 1,024 are hundreds too few."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


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


def _set_from_elsewhere(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    with suppress(RuntimeError):  # the loop may have ended first
        loop.call_soon_threadsafe(stop.set)


async def _listen(city: City, rtsp: RtspServer, control: ControlServer, show: _Show) -> Ports:
    port = city.port
    own: dict[str, tuple[str, int]] = {}
    try:
        rtsp_port = await rtsp.open(city.host, port)
        for camera in city.cameras:
            if camera.own is not None:
                host, port = camera.own
                own[camera.path] = (host, await rtsp.open(host, port, camera.path))
        for order in city.faults:
            show.board.switch(order)
        port = city.control_port
        return Ports(rtsp_port, await control.open(port), show.timeline.unix_s(0.0), own)
    except OSError as exc:
        raise InputError(f"port {port} cannot be listened on ({exc.strerror}); choose another") from exc


def _broadcast(path: str, media: VideoMedia) -> Broadcast:
    ssrc, sequence, start_timestamp = start_numbers()
    return Broadcast(path, media, RtpSender(ssrc=ssrc, sequence=sequence), start_timestamp)
