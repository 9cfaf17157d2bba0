# SPDX-License-Identifier: AGPL-3.0-or-later
"""Golden wire files, a clip, a tiny scene, and cities that really run."""

import asyncio
import json
import select
import socket
import threading
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
import pytest

from gridwatch.core.clock import SystemClock
from gridwatch.simulator.city import running_city
from gridwatch.simulator.rtsp.rtcp import SenderReport, parse_compound
from gridwatch.simulator.rtsp.rtp import RtpPacket

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
    assert started.wait(30)
    ports, loop, stop = found[0]
    try:
        yield ports
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(30)
        assert not thread.is_alive()


@contextmanager
def watching(port, path, user="viewer:look@"):
    """Open a camera with FFmpeg's own RTSP client, as ingest does."""
    options = {"rtsp_transport": "tcp", "timeout": "5000000", "analyzeduration": "1"}
    with av.open(f"rtsp://{user}127.0.0.1:{port}/{path}", options=options) as container:
        yield container


class RawClient:
    """A client of plain sockets that sees every packet: FFmpeg hides what is wrong with them.

    Attributes:
        reports: the sender reports that came so far.
    """

    def __init__(self, port, path, *, udp=False, host="127.0.0.1", timeout=20.0):
        self.url, self.path, self.udp, self.cseq, self.session = f"rtsp://{host}/{path}", path, udp, 0, None
        self.reports, self.strays, self.left = [], 0, b""
        self.sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2 * udp)]
        self.connection = socket.create_connection((host, port), timeout=timeout)
        for one in self.sockets:
            one.bind((self.connection.getsockname()[0], 0))
            one.settimeout(timeout)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for one in (self.connection, *self.sockets):
            one.close()

    def wait_only(self, seconds):
        """Take silence for silence after so many seconds from now on."""
        for one in (self.connection, *self.sockets):
            one.settimeout(seconds)

    def ask(self, method, url=None, **headers):
        """Send a request; return the status, the headers and the body of its answer."""
        self.cseq += 1
        if self.session:
            headers = {"Session": self.session, **headers}
        lines = [f"{method} {url or self.url} RTSP/1.0", f"CSeq: {self.cseq}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self.connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        while b"\r\n\r\n" not in self.left:
            self._more()
        head, _, self.left = self.left.partition(b"\r\n\r\n")
        first, *rest = head.decode().split("\r\n")
        found = dict(line.split(": ", 1) for line in rest)
        size = int(found.get("Content-Length", 0))
        while len(self.left) < size:
            self._more()
        body, self.left = self.left[:size], self.left[size:]
        return int(first.split()[1]), found, body

    def play(self):
        """Set up and play; return self."""
        if self.udp:
            rtp, rtcp = (one.getsockname()[1] for one in self.sockets)
            transport = f"RTP/AVP;unicast;client_port={rtp}-{rtcp}"
        else:
            transport = "RTP/AVP/TCP;unicast;interleaved=0-1"
        status, headers, _ = self.ask("SETUP", f"{self.url}/trackID=0", Transport=transport)
        assert status == 200
        self.session = headers["Session"].split(";")[0]
        self.transport = headers["Transport"]
        assert self.ask("PLAY")[0] == 200
        return self

    def packets(self):
        """Yield RTP packets as they come; raises TimeoutError where none comes, ends where the connection does."""
        while True:
            try:
                channel, data = self._datagram() if self.udp else self._frame()
            except (EOFError, ConnectionError):
                return
            if channel == 0:
                yield RtpPacket.parse(data)
            else:
                self.reports.append(SenderReport.from_packet(parse_compound(data)[0]))

    def _datagram(self):
        rtp, rtcp = self.sockets
        ready, _, _ = select.select([self.connection, *self.sockets], [], [], rtp.gettimeout())
        if rtcp in ready:
            return 1, rtcp.recv(2048)
        if rtp in ready:
            return 0, rtp.recv(2048)
        if ready:
            raise EOFError
        raise TimeoutError

    def _frame(self):
        while True:
            while len(self.left) < 4:
                self._more()
            if self.left[:1] == b"$" and self.left[1] < 2:
                break
            self.left, self.strays = self.left[1:], self.strays + 1
        end = 4 + int.from_bytes(self.left[2:4], "big")
        while len(self.left) < end:
            self._more()
        channel, data = self.left[1], self.left[4:end]
        self.left = self.left[end:]
        return channel, data

    def _more(self):
        data = self.connection.recv(65_536)
        if not data:
            raise EOFError
        self.left += data


def open_and_close(city):
    """Run a city for a moment in this thread; what it raises comes out."""

    async def main():
        async with running_city(city, SystemClock()):
            pass

    asyncio.run(main())


def ask(port, line=b'{"ask": "timeline"}'):
    """Ask the control channel one thing."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
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
    RawClient = RawClient
    TinyScene = TinyScene
    make_clip = staticmethod(make_clip)
    city_running = staticmethod(city_running)
    open_and_close = staticmethod(open_and_close)
    watching = staticmethod(watching)
    ask = staticmethod(ask)
