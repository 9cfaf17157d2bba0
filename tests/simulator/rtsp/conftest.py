# SPDX-License-Identifier: AGPL-3.0-or-later
"""Golden wire files, a clip, a tiny scene, and cities that really run."""

import asyncio
import json
import socket
import threading
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
import pytest

from gridwatch.core.clock import SystemClock
from gridwatch.simulator.city import running_city

GOLDEN = Path(__file__).parent.parent / "golden"
WIDTH, HEIGHT, FPS, GOP, FRAMES = 160, 96, 25, 10, 50


class TinyScene:
    """A renderer: a square walks over a grey picture; its place tells the frame's number."""

    width, height, fps, gop_frames = 160, 96, 10.0, 5

    def render(self, frame_index):
        picture = np.full((self.height, self.width, 3), 60, np.uint8)
        x = 8 * (frame_index % 16)
        picture[40:56, x : x + 16] = 220
        return picture


def make_clip(path, *, codec="libx264", b_frames=0, frames=FRAMES):
    """Write a clip of FRAMES / FPS seconds with a key picture every GOP pictures."""
    options = {"g": str(GOP), "bf": str(b_frames)}
    if codec == "libx264":
        options |= {"preset": "ultrafast", "x264-params": f"scenecut=0:keyint={GOP}:min-keyint={GOP}"}
    rng = np.random.default_rng(14)
    ground = rng.integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=FPS, options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for index in range(frames):
            picture = np.roll(ground, index, axis=1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
        container.mux(stream.encode())
    return path


@contextmanager
def city_running(city):
    """Run a city in a thread with an event loop of its own; yield its ports."""
    started, found = threading.Event(), []

    async def main():
        async with running_city(city, SystemClock()) as ports:
            stop = asyncio.Event()
            found.append((ports, asyncio.get_running_loop(), stop))
            started.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    assert started.wait(10)
    ports, loop, stop = found[0]
    try:
        yield ports
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        assert not thread.is_alive()


@contextmanager
def watching(port, path, user="viewer:look@"):
    """Open a camera with FFmpeg's own RTSP client, as ingest does."""
    options = {"rtsp_transport": "tcp", "timeout": "5000000", "analyzeduration": "1"}
    with av.open(f"rtsp://{user}127.0.0.1:{port}/{path}", options=options) as container:
        yield container


def open_and_close(city):
    """Run a city for a moment in this thread; what it raises comes out."""

    async def main():
        async with running_city(city, SystemClock()):
            pass

    asyncio.run(main())


def ask(port, line=b'{"ask": "timeline"}'):
    """Ask the control channel one thing."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(line + b"\n")
        with connection.makefile("rb") as answers:
            return json.loads(answers.readline())


@pytest.fixture(scope="session")
def clip(tmp_path_factory):
    return make_clip(tmp_path_factory.mktemp("clips") / "yard.mp4")


@pytest.fixture
def golden():
    return lambda name: (GOLDEN / name).read_bytes()


@pytest.fixture(scope="session")
def tools():
    """The functions of this file, for tests (they cannot import it: tests are no package)."""
    return Tools


class Tools:
    TinyScene = TinyScene
    make_clip = staticmethod(make_clip)
    city_running = staticmethod(city_running)
    open_and_close = staticmethod(open_and_close)
    watching = staticmethod(watching)
    ask = staticmethod(ask)
