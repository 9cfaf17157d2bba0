# SPDX-License-Identifier: AGPL-3.0-or-later
"""`gridwatch simulate`: clips as looping RTSP cameras, until stopped."""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast, get_args

from gridwatch.core.clock import SystemClock
from gridwatch.core.errors import InputError
from gridwatch.simulator.city import City, CityCamera, Ports, serve
from gridwatch.simulator.clips import ClipFeed
from gridwatch.simulator.fault_board import SUB
from gridwatch.simulator.faults import parse_order
from gridwatch.simulator.rtsp.auth import Scheme
from gridwatch.simulator.rtsp.digest import Credentials
from gridwatch.simulator.shelf import ClipShelf

MAX_CAMERAS = 1_000
SUB_WIDTH_PX = 640

_PHASE_STEP_S = (1 + math.sqrt(5)) / 2
_NOT_IN_A_PATH = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorOptions:
    """What `gridwatch simulate` is asked for.

    Attributes:
        clips: files with H.264 or H.265 video.
        cameras: how many; clips repeat. None: one per clip.
        port, control_port: 0 asks for any free one.
        user, password: both or neither; with them cameras ask for authentication.
        auth: how: `digest`, `basic` or `both` offered.
        faults: `NAME[:key=value,...][@PATH]` each; without a path at every camera.
        sub: each camera has a second, smaller stream at PATH/sub.
        own_ports: each camera has a port of its own, too; `refuse` closes it.
        with_parent: end when standard input ends.
    """

    clips: tuple[Path, ...]
    cameras: int | None = None
    host: str = "127.0.0.1"
    port: int = 8554
    control_port: int = 0
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    auth: str = "digest"
    faults: tuple[str, ...] = ()
    sub: bool = False
    own_ports: bool = False
    with_parent: bool = False


def run_simulator(options: SimulatorOptions) -> None:
    """Serve clips until SIGTERM, SIGINT or (where asked for) the end of stdin.

    Prints one JSON line when ready: `{"ready": true, "rtsp": PORT, "control": PORT, "cameras": [{"name", "url"}, …]}`.
    A camera with a second stream has "sub_url", too. The URLs carry no credentials.

    Raises:
        InputError: a clip, a number, the credentials, a fault or a port cannot be used.
    """
    own = (options.host, 0) if options.own_ports else None
    city = City(
        cameras=clip_cameras(options.clips, options.cameras, sub=options.sub, own=own),
        host=options.host,
        port=options.port,
        credentials=_credentials(options),
        control_port=options.control_port,
        scheme=_scheme(options.auth),
        faults=[parse_order(text) for text in options.faults],
    )

    def ready(ports: Ports) -> None:
        cameras = _urls(city, ports)
        line = {"ready": True, "rtsp": ports.rtsp, "control": ports.control, "cameras": cameras}
        print(json.dumps(line), flush=True)

    serve(city, ready, clock=SystemClock(), with_parent=options.with_parent)


def clip_cameras(
    clips: Sequence[Path],
    count: int | None = None,
    *,
    sub: bool = False,
    own: tuple[str, int] | None = None,
) -> list[CityCamera]:
    """Return `count` cameras that show `clips` in turn, each at another moment of its clip.

    The phases are multiples of the golden ratio, so that key frames of cameras with any usual GOP spread evenly.
    All share one shelf: a clip is in memory once.

    Args:
        sub: give each a second stream, the same scaled to `SUB_WIDTH_PX` across, as another camera at PATH/sub.
        own: as in `CityCamera`.

    Raises:
        InputError: there is no clip, or the count is out of bounds.
    """
    if not clips:
        raise InputError("name at least one clip")
    count = len(clips) if count is None else count
    if not 1 <= count <= MAX_CAMERAS:
        raise InputError(f"the number of cameras is 1 to {MAX_CAMERAS}, got {count}")
    cameras: list[CityCamera] = []
    taken: set[str] = set()
    shelf = ClipShelf()
    for index in range(count):
        clip, phase_s = clips[index % len(clips)], index * _PHASE_STEP_S
        path = _free_path(clip.stem, taken)
        taken.add(path)
        cameras.append(CityCamera(path, ClipFeed(clip, phase_s, shelf=shelf), own=own))
        if sub:
            feed = ClipFeed(clip, phase_s, shelf=shelf, sub_width=SUB_WIDTH_PX)
            cameras.append(CityCamera(path + SUB, feed, own=own))
    return cameras


def _urls(city: City, ports: Ports) -> list[dict[str, str]]:
    """Return each camera's name and address, and that of its second stream."""

    def url(path: str) -> str:
        host, port = ports.own.get(path, (city.host, ports.rtsp))
        return f"rtsp://{host}:{port}/{path}"

    paths = {camera.path for camera in city.cameras}
    return [
        {"name": path, "url": url(path)} | ({"sub_url": url(path + SUB)} if path + SUB in paths else {})
        for path in (camera.path for camera in city.cameras)
        if path.removesuffix(SUB) not in paths - {path}
    ]


def _scheme(auth: str) -> Scheme:
    for scheme in get_args(Scheme):
        if auth == scheme:
            return cast("Scheme", scheme)
    raise InputError(f"authentication is one of {', '.join(get_args(Scheme))}, got {auth!r}")


def _free_path(stem: str, taken: set[str]) -> str:
    base = _NOT_IN_A_PATH.sub("-", stem)[:50].strip("-") or "camera"
    number, path = 2, base
    while path in taken:
        path, number = f"{base}-{number}", number + 1
    return path


def _credentials(options: SimulatorOptions) -> Credentials | None:
    if options.user is None and options.password is None:
        return None
    if not options.user or not options.password:
        raise InputError("give both a user and a password, or neither")
    return Credentials(options.user, options.password)
