# SPDX-License-Identifier: AGPL-3.0-or-later
"""A test camera in a process of its own: a quiet yard in which something burns when that is asked for, and goes out.

Prints one JSON line when ready, `{"ready": true, "rtsp": PORT, "url": "rtsp://…"}`. Each line of standard input,
`{"burn_s": 30}`, sets fire to it for so long; at the end of standard input the process ends. Nothing here is anybody's
picture: the place is painted, the flames are simulated.
"""

import argparse
import json
import os
import secrets
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Final

import cv2
import numpy as np

from gridwatch.core.clock import SystemClock
from gridwatch.core.errors import InputError
from gridwatch.simulator.city import City, CityCamera, Ports, serve
from gridwatch.simulator.rtsp.digest import Credentials
from gridwatch.simulator.scene_feed import SceneFeed
from gridwatch.simulator.scenes.burning import Fire
from gridwatch.simulator.scenes.canvas import HEIGHT_PX, WIDTH_PX, Picture, write
from gridwatch.simulator.scenes.fluid import load_fluids
from gridwatch.simulator.scenes.places import PAINTERS
from gridwatch.simulator.scenes.schedule import Slot

PATH: Final = "canary"
USER: Final = "canary"
LONGEST_S: Final = 600.0
_LONGEST_LINE: Final = 4_096
_PLACE: Final = "yard"
_FPS: Final = 5
_GOP_FRAMES: Final = 5
_SEED: Final = 7
_NOISES: Final = (
    8  # fields of sensor noise, in turn: the picture of a camera that lives never stands quite still
)
_NOISE: Final = 3  # grey levels
_DIES_S: Final = 8.0


class CanaryScene:
    """The scene. `burn` may be called from any thread, `render` from one."""

    width = WIDTH_PX
    height = HEIGHT_PX
    fps = _FPS
    gop_frames = _GOP_FRAMES

    def __init__(self) -> None:
        rng = np.random.default_rng(_SEED)
        self._place = PAINTERS[_PLACE](rng)
        self._fluids = load_fluids()
        self._rng = rng
        shape = (HEIGHT_PX, WIDTH_PX)
        self._noises = [
            cv2.merge([rng.integers(0, _NOISE + 1, shape, dtype=np.uint8)] * 3) for _ in range(_NOISES)
        ]
        self._asked_s: float | None = None
        self._fire: Fire | None = None
        self._over_s = 0.0

    def burn(self, for_s: float) -> None:
        """Let it burn for `for_s` seconds from the next frame on; what burns already goes on for as long."""
        self._asked_s = for_s

    def render(self, frame_index: int) -> Picture:
        """Return frame `frame_index`: (540, 960, 3) uint8, BGR."""
        at_s = frame_index / self.fps
        asked_s, self._asked_s = self._asked_s, None
        if asked_s is not None:
            self._light(at_s, asked_s)
        picture: Picture = cv2.add(self._place.picture, self._noises[frame_index % _NOISES])
        if self._fire is not None:
            self._fire.draw(picture, at_s)
            self._fire = self._fire if at_s < self._over_s else None
        write(picture, f"TEST CAMERA {int(at_s) // 60:06d}:{int(at_s) % 60:02d}", WIDTH_PX - 300, 26)
        return picture

    def _light(self, at_s: float, for_s: float) -> None:
        self._over_s = at_s + for_s + _DIES_S
        foot = self._place.spots[int(self._rng.integers(len(self._place.spots)))]
        self._fire = Fire(PATH, Slot(at_s, self._over_s, self._rng), self._fluids, foot)


def burns_asked(lines: Iterable[bytes]) -> Iterable[float]:
    """Yield the seconds that each line asks for; what is no such line is passed over."""
    for line in lines:
        try:
            asked = json.loads(line)
        except (ValueError, RecursionError):
            continue
        seconds = asked.get("burn_s") if isinstance(asked, dict) else None
        if isinstance(seconds, int | float) and 0 < seconds <= LONGEST_S:
            yield float(seconds)


def lines_of(descriptor: int) -> Iterable[bytes]:
    """Yield the lines that come from a file descriptor until it ends; one that is too long is none.

    Read without Python's buffers: a thread that waits inside of them cannot be left behind at the end.
    """
    rest = b""
    with suppress(OSError):  # closed already: then whoever gave the orders is gone
        while came := os.read(descriptor, 4096):
            *whole, rest = (rest + came).split(b"\n")
            yield from whole
            rest = rest if len(rest) <= _LONGEST_LINE else b""


def listen(lines: Iterable[bytes], burn: Callable[[float], None], end: Callable[[], None]) -> None:
    """Pass on what is asked for until `lines` ends, on a thread of its own; then call `end`."""

    def follow() -> None:
        for seconds in burns_asked(lines):
            burn(seconds)
        end()

    threading.Thread(target=follow, name="canary-orders", daemon=True).start()


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve the test camera until standard input ends, or SIGTERM comes."""
    parser = argparse.ArgumentParser(prog="gridwatch.simulator.canary", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="of the camera; 0 takes a free one")
    options = parser.parse_args(arguments)
    scene = CanaryScene()
    credentials = Credentials(
        USER, os.environ.pop("GRIDWATCH_CANARY_PASSWORD", "") or secrets.token_urlsafe(9)
    )
    city = City(
        cameras=[CityCamera(PATH, SceneFeed(scene), "自检摄像机")], port=options.port, credentials=credentials
    )

    def ready(ports: Ports) -> None:
        login = f"{credentials.user}:{credentials.password}"
        url = f"rtsp://{login}@{city.host}:{ports.rtsp}/{PATH}"
        sys.stdout.write(json.dumps({"ready": True, "rtsp": ports.rtsp, "url": url}) + "\n")
        sys.stdout.flush()

    listen(lines_of(sys.stdin.fileno()), scene.burn, lambda: os.kill(os.getpid(), signal.SIGTERM))
    serve(city, ready, clock=SystemClock())


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2)
