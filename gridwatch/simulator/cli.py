# SPDX-License-Identifier: AGPL-3.0-or-later
"""`gridwatch simulate`: clips as looping RTSP cameras, until stopped."""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gridwatch.core.clock import SystemClock
from gridwatch.core.errors import InputError
from gridwatch.simulator.city import City, CityCamera, Ports, serve
from gridwatch.simulator.clips import ClipFeed
from gridwatch.simulator.rtsp.digest import Credentials

MAX_CAMERAS = 1_000

_PHASE_STEP_S = (1 + math.sqrt(5)) / 2
_NOT_IN_A_PATH = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorOptions:
    """What `gridwatch simulate` is asked for.

    Attributes:
        clips: files with H.264 video.
        cameras: how many; clips repeat. None: one per clip.
        port, control_port: 0 asks for any free one.
        user, password: both or neither; with them cameras ask for Digest authentication.
        with_parent: end when standard input ends.
    """

    clips: tuple[Path, ...]
    cameras: int | None = None
    host: str = "127.0.0.1"
    port: int = 8554
    control_port: int = 0
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    with_parent: bool = False


def run_simulator(options: SimulatorOptions) -> None:
    """Serve clips until SIGTERM, SIGINT or (where asked for) the end of stdin.

    Prints one JSON line when ready: `{"ready": true, "rtsp": PORT, "control": PORT, "cameras": [{"name", "url"}, …]}`.
    The URLs carry no credentials.

    Raises:
        InputError: a clip, a number, the credentials or a port cannot be used.
    """
    city = City(
        cameras=clip_cameras(options.clips, options.cameras),
        host=options.host,
        port=options.port,
        credentials=_credentials(options),
        control_port=options.control_port,
    )

    def ready(ports: Ports) -> None:
        cameras = [
            {"name": camera.path, "url": f"rtsp://{options.host}:{ports.rtsp}/{camera.path}"}
            for camera in city.cameras
        ]
        line = {"ready": True, "rtsp": ports.rtsp, "control": ports.control, "cameras": cameras}
        print(json.dumps(line), flush=True)

    serve(city, ready, clock=SystemClock(), with_parent=options.with_parent)


def clip_cameras(clips: Sequence[Path], count: int | None = None) -> list[CityCamera]:
    """Return `count` cameras that show `clips` in turn, each at another moment of its clip.

    The phases are multiples of the golden ratio, so that key frames of cameras with any usual GOP spread evenly.

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
    for index in range(count):
        clip = clips[index % len(clips)]
        path = _free_path(clip.stem, taken)
        taken.add(path)
        cameras.append(CityCamera(path, ClipFeed(clip, index * _PHASE_STEP_S)))
    return cameras


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
