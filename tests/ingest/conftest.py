# SPDX-License-Identifier: AGPL-3.0-or-later
"""Clips made on the spot, a city that serves them over RTSP, and a server that follows a script."""

import asyncio
import contextlib
import json
import socket
import struct
import threading
import time
from datetime import UTC, datetime
from fractions import Fraction

import av
import numpy as np
import pytest

from gridwatch.core.clock import ManualClock, SystemClock
from gridwatch.simulator.city import City, CityCamera, running_city
from gridwatch.simulator.clips import ClipFeed
from ingest.decoder import KeyDecoder
from ingest.files import FileSource
from ingest.follow_budget import FollowBudget
from ingest.intake import CameraIntake
from ingest.packets import Packet, StreamInfo
from tests.ingest.intake_kit import CAMERA

START = datetime(2026, 5, 1, 8, 0, tzinfo=UTC)


@pytest.fixture
def clock():
    return ManualClock(START)


def picture(index, width, height):
    """A slope that drifts, with a square that moves; every picture differs from the one before."""
    rows, columns = np.mgrid[0:height, 0:width]
    luma = (rows + columns + 3 * index) % 200 + 20
    at = 7 * index % max(1, width - 40)
    luma[height // 3 : height // 3 + 24, at : at + 24] = 235
    return np.repeat(luma.astype(np.uint8)[..., None], 3, axis=2)


@pytest.fixture
def following_intake(clock):
    """The intake of a camera that may be followed."""
    return CameraIntake(CAMERA, clock, follow=FollowBudget(1))


@pytest.fixture
def make_clip(tmp_path):
    """Return a function that encodes a clip and returns its path."""

    def make(name="clip.mp4", *, codec="libx264", size=(320, 180), fps=10, gop=5, pictures=20, **options):
        path = tmp_path / name
        with av.open(path, "w") as container:
            stream = container.add_stream(codec, rate=Fraction(fps))
            stream.width, stream.height, stream.pix_fmt = *size, options.pop("pix_fmt", "yuv420p")
            stream.gop_size = gop
            stream.codec_context.max_b_frames = options.pop("b_frames", 0)
            quiet = {"x265-params": "log-level=none:open-gop=0"} if codec == "libx265" else {}
            stream.options = {"preset": "ultrafast", "threads": "1", "sc_threshold": "0", **quiet, **options}
            for i in range(pictures):
                frame = av.VideoFrame.from_ndarray(picture(i, *size), "rgb24")
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return path

    return make


@pytest.fixture
def camera_clip(make_clip):
    """A clip of 2 s with four key frames a second, so that a camera that shows it is soon seen."""
    return make_clip(fps=20, gop=5, pictures=40)


@pytest.fixture
def packets_of(clock):
    """Return a function that reads all packets of a clip."""

    def read(path, camera_id="cam", start_mono_s=0.0):
        with FileSource(camera_id, path, clock, start_mono_s) as source:
            return list(source.packets())

    return read


@pytest.fixture
def make_packet():
    """Return a function that makes a packet without pictures in it."""
    info = StreamInfo("h264", 320, 180, b"", Fraction(1, 1000), 10.0)

    def make(at_mono_s, *, key=False, size=100, session=1, camera_id="cam", pts="at"):
        pts_ms = round(at_mono_s * 1000) if pts == "at" else pts
        return Packet(camera_id, bytes(size), pts_ms, None, key, at_mono_s, START, session, info)

    return make


@pytest.fixture
def until():
    """Return a function that waits until a condition holds, and fails when it does not in time."""

    def wait(condition, within_s=20.0):
        end = time.monotonic() + within_s
        while not condition():
            assert time.monotonic() < end, f"not within {within_s} s"
            time.sleep(0.01)

    return wait


class Served:
    """A simulated city in a thread of its own."""

    def __init__(self, clips, credentials=None, port=0, **city):
        self._clips, self._credentials, self.port, self._city = clips, credentials, port, city
        self._ready, self._thread = threading.Event(), None

    def start(self):
        self._ready.clear()
        self._thread = threading.Thread(target=asyncio.run, args=(self._serve(),))
        self._thread.start()
        assert self._ready.wait(5)
        return self

    def kill(self):
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def freeze(self, seconds):
        """Stop sending and answering, without closing anything."""
        self._loop.call_soon_threadsafe(time.sleep, seconds)

    def fault(self, name, *, on=True, camera="*", **values):
        """Switch a fault by the control channel, as a person would."""
        asked = {"ask": "fault", "camera": camera, "fault": name, "on": on, **values}
        with socket.create_connection(("127.0.0.1", self.control_port), 5) as control:
            control.sendall(json.dumps(asked).encode() + b"\n")
            answer = json.loads(control.makefile().readline())
        assert "error" not in answer, answer

    def url(self, path="gate", user=""):
        return f"rtsp://{user}127.0.0.1:{self.port}/{path}"

    async def _serve(self):
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        cameras = [CityCamera(path, ClipFeed(clip)) for path, clip in self._clips.items()]
        city = City(cameras, port=self.port, credentials=self._credentials, **self._city)
        async with running_city(city, SystemClock()) as ports:
            self.port, self.control_port = ports.rtsp, ports.control
            self._ready.set()
            await self._stop.wait()


@pytest.fixture
def serve():
    """Return a function that serves {path: clip} as RTSP cameras until the test ends."""
    with contextlib.ExitStack() as stack:

        def start(clips, credentials=None, **city):
            served = Served(clips, credentials, **city).start()
            stack.callback(served.kill)
            return served

        yield start


SDP = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\n"
H264 = "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:t\r\n"


class Scripted:
    """A camera that says what it is told to say, to one client at a time.

    Args:
        answers: method → status line and headers in place of the usual answer; None: no answer at all; (): the usual one; or
            a function that returns one of these for a request.
        reports: send an RTCP sender report every 50 ms after PLAY, and no picture.
        greeting: bytes sent at once, before any request.
        streams: bytes sent before PLAY's answer, and behind it.
        piece: how many bytes of an answer are sent at once.
    """

    def __init__(
        self, media=H264, answers=None, *, reports=False, greeting=b"", streams=(b"", b""), piece=1 << 20
    ):
        self._media, self._answers, self._reports, self._greeting = media, answers or {}, reports, greeting
        self._streams, self._piece = streams, piece
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.requests = []
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    def url(self, user="admin:s3cret-Pa55@"):
        return f"rtsp://{user}127.0.0.1:{self.port}/live"

    def close(self):
        """End it, whoever is still connected."""
        self._closed.set()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()

    def _accept(self):
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            with client, contextlib.suppress(OSError):
                client.sendall(self._greeting)
                self._serve(client)

    def _serve(self, client):
        client.settimeout(0.05)
        buffer, playing = b"", False
        while not self._closed.is_set():
            try:
                data = client.recv(4096)
            except TimeoutError:
                if playing and self._reports:
                    client.sendall(
                        b"$\x01\x00\x1c" + struct.pack(">BBHIIIIII", 0x80, 200, 6, 1, 1 << 31, 0, 0, 0, 0)
                    )
                continue
            if not data:
                return
            buffer += data
            while b"\r\n\r\n" in buffer:
                head, buffer = buffer.split(b"\r\n\r\n", 1)
                self._answer(client, head.decode())
                playing = playing or head.startswith(b"PLAY")

    def _answer(self, client, head):
        method = head.split()[0]
        self.requests.append(head)
        sequence = next((line for line in head.split("\r\n") if line.lower().startswith("cseq")), "CSeq: 0")
        lines, body = ["RTSP/1.0 200 OK"], ""
        if method == "DESCRIBE":
            lines, body = [*lines, "Content-Type: application/sdp"], SDP + self._media
        if method == "SETUP":
            lines += ["Session: 1", "Transport: RTP/AVP/TCP;unicast;interleaved=0-1"]
        said = self._answers.get(method, ())
        said = said(head) if callable(said) else said
        if said != ():
            lines, body = said, body if said and " 200 " in said[0] else ""
        before, behind = self._streams if method == "PLAY" else (b"", b"")
        text = ""
        if lines is not None:
            text = "\r\n".join([*lines, sequence, f"Content-Length: {len(body)}", "", body])
        data = before + text.encode() + behind
        for at in range(0, len(data), self._piece):
            client.sendall(data[at : at + self._piece])


@pytest.fixture
def scripted():
    """Return a function that starts a scripted camera until the test ends."""
    with contextlib.ExitStack() as stack:

        def start(*args, **options):
            server = Scripted(*args, **options)
            stack.callback(server.close)
            return server

        yield start


@pytest.fixture
def quiet_clip(tmp_path):
    """Return a function that encodes a still street, 10 pictures a second, in which a box appears, or something passes."""

    def make(seconds, boxes=(), *, passes=(0, 0), gop=20, **options):
        rng = np.random.default_rng(3)
        street = rng.integers(60, 140, (18, 32), np.uint8).repeat(10, 0).repeat(10, 1)
        path = tmp_path / "quiet.mp4"
        with av.open(path, "w") as container:
            stream = container.add_stream("libx264", rate=Fraction(10))
            stream.width, stream.height, stream.pix_fmt, stream.gop_size = 320, 180, "yuv420p", gop
            stream.options = {"preset": "ultrafast", "tune": "zerolatency", "sc_threshold": "0", **options}
            for i in range(round(seconds * 10)):
                luma = np.clip(street + rng.normal(0, 1.5, street.shape), 0, 255).astype(np.uint8)
                if any(began <= i / 10 < ended for began, ended in boxes):
                    luma[60:100, 100:160] = 230
                if passes[0] <= i / 10 < passes[1]:
                    at = 20 + 12 * round(i - passes[0] * 10)
                    luma[60:120, at : at + 60] = (
                        rng.integers(0, 255, (6, 6), np.uint8).repeat(10, 0).repeat(10, 1)
                    )
                picture = np.repeat(luma[..., None], 3, axis=2)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
            container.mux(stream.encode(None))
        return path

    return make


@pytest.fixture
def watch(clock):
    """Return a function that drives packets through an intake and returns the looks."""
    decoder = KeyDecoder()

    def run(intake, packets, interest=None):
        looks = []
        for packet in packets:
            clock.advance_to(packet.at_mono_s)
            admitted = intake.take(packet)
            if admitted is None:
                continue
            for shown, frame in intake.pictures(decoder, admitted):
                for look in intake.see(shown, frame):
                    looks.append(look)
                    intake.sight.looked(look)
                    if interest is not None:
                        intake.follow(interest(look))
        return looks

    return run
