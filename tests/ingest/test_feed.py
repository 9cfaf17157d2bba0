# SPDX-License-Identifier: AGPL-3.0-or-later
"""The thread of a camera, on real RTSP sessions."""

import random
import threading
import time

import pytest

from gridwatch.core.camera import Camera, Note, SightState
from gridwatch.core.clock import SystemClock
from gridwatch.core.redact import SecretUrl
from gridwatch.simulator.rtsp.digest import Credentials
from ingest.admission import Admission, AdmissionLimits
from ingest.backoff import Backoff
from ingest.decoder import KeyDecoder
from ingest.errors import UnauthorizedError
from ingest.feed import Feed
from ingest.intake import CameraIntake
from ingest.packets import PacketSource
from ingest.rtsp import RtspOptions, RtspSource
from ingest.sight import Sight, SightBounds

QUICK = RtspOptions(stall_s=1.2, open_s=1.2)


class Watched:
    """A feed, its intake, and a decoder in place of the pool."""

    def __init__(self, url, *, blind_after_s=1.0, source=None):
        clock = SystemClock()
        camera = Camera("cam", "南门", SecretUrl(url))
        sight = Sight("cam", "南门", clock, SightBounds(blind_after_s=blind_after_s))
        self.intake, self.delivered, self.decoder = CameraIntake(camera, clock, sight=sight), [], KeyDecoder()
        self.feed = Feed(
            self.intake,
            source or (lambda: RtspSource("cam", camera.url, clock, QUICK)),
            self.deliver,
            clock=clock,
            backoff=Backoff(random.Random(3), base_s=0.1, cap_s=0.2),
            admission=Admission(clock, random.Random(4)),
        )

    def deliver(self, packet):
        self.delivered.append(packet)
        self.intake.see(packet, self.decoder.decode(packet))

    @property
    def status(self):
        return self.intake.sight.status()


@pytest.fixture
def watch():
    """Return a function that starts a feed; it is stopped and must have ended when the test ends."""
    started = []

    def start(url, **options):
        watched = Watched(url, **options)
        watched.feed.start()
        started.append(watched.feed)
        return watched

    yield start
    for feed in started:
        feed.stop()
    assert all(feed.join(QUICK.open_s + 2) for feed in started)


def test_key_frames_are_delivered_and_the_rest_remembered(camera_clip, serve, watch, until):
    """Only key frames go on; the ring has every packet; the camera sees."""
    watched = watch(serve({"gate": camera_clip}).url())
    until(lambda: len(watched.delivered) >= 3)
    assert all(packet.is_key for packet in watched.delivered)
    assert len(watched.intake.ring.window(0, time.monotonic())) > len(watched.delivered)
    assert watched.status.state is not SightState.BLIND
    assert watched.intake.picture(KeyDecoder()).width == 320


def test_a_camera_that_dies_is_blind_and_comes_back(camera_clip, serve, watch, until):
    """Killed: blind within the bound, with the reason. Back on the same port: seen again, in a new session."""
    served = serve({"gate": camera_clip})
    watched = watch(served.url())
    until(lambda: watched.status.state is SightState.SEEING)
    served.kill()
    until(lambda: watched.status.state is SightState.BLIND, within_s=2)
    assert watched.status.reason.startswith(("the camera closed", "no connection", "connecting"))
    served.start()
    until(lambda: watched.status.state is SightState.SEEING)
    assert len({packet.session for packet in watched.delivered}) == 2
    assert len({packet.session for packet in watched.intake.ring.window(0, 1e9)}) == 1


def test_a_camera_that_starts_late_is_found(camera_clip, serve, watch, until):
    """Nothing there at first: blind and tried again, until it is there."""
    served = serve({"gate": camera_clip})
    served.kill()
    watched = watch(served.url())
    until(lambda: watched.feed.failures >= 2)
    assert watched.status.state is SightState.BLIND
    served.start()
    until(lambda: watched.status.state is SightState.SEEING)


def test_a_stalled_connection_is_blind_and_given_up(camera_clip, serve, watch, until):
    """A server that stops sending without closing: blind within the bound, and the connection is made anew."""
    served = serve({"gate": camera_clip})
    watched = watch(served.url())
    until(lambda: watched.status.state is SightState.SEEING)
    served.freeze(2.2)
    until(lambda: watched.status.state is SightState.BLIND, within_s=1.5)
    until(lambda: watched.feed.failures >= 1, within_s=1)
    until(lambda: watched.status.state is SightState.SEEING, within_s=6)
    assert watched.feed.opened >= 2


def test_a_refused_password_is_the_reason_and_tried_rarely(camera_clip, serve, watch, until):
    """The state says what to correct; the account is not locked by us."""
    served = serve({"gate": camera_clip}, Credentials("admin", "right"))
    watched = watch(served.url(user="admin:wrong@"))
    until(lambda: watched.feed.failures == 1)
    time.sleep(0.4)  # four times the wait after another failure
    assert watched.feed.failures == 1
    assert watched.status.reason == "user or password are refused"


def test_a_wrong_clock_is_noted(camera_clip, serve, watch, until):
    """By the camera's own reports; it sees all the same. Once the clock is right, the note goes."""
    served = serve({"gate": camera_clip})
    served.fault("clock", offset_s=60.0)
    watched = watch(served.url())
    until(lambda: watched.status.notes == (Note.CLOCK_WRONG,))
    assert watched.status.clock_offset_s == pytest.approx(60, abs=1)
    assert watched.status.state is not SightState.BLIND
    served.fault("clock", on=False)
    until(lambda: watched.status.notes == (), within_s=10)


def test_a_stop_ends_a_feed_that_waits(scripted, watch):
    """A stop is heard while the demuxer waits for a silent camera, within the source's own bounds."""
    watched = watch(scripted(answers={"OPTIONS": None}).url())
    time.sleep(0.1)
    began = time.monotonic()
    watched.feed.stop()
    assert watched.feed.join(QUICK.open_s + 1)
    assert time.monotonic() - began < QUICK.open_s + 0.5


class Broken:
    """A source with a mistake in it."""

    def __enter__(self):
        raise ZeroDivisionError("rtsp://admin:s3cret@camera/")

    def __exit__(self, *error):
        raise AssertionError("what was not opened is not closed")

    def packets(self):
        raise AssertionError("what was not opened is not read")


def test_a_mistake_in_a_source_does_not_end_the_thread(watch, until, capsys):
    """Whatever goes wrong is counted, named and tried again; no secret is printed."""
    watched = watch("rtsp://127.0.0.1/x", source=Broken)
    until(lambda: watched.feed.failures >= 3)
    assert watched.status.reason == "unexpected ZeroDivisionError"
    assert "s3cret" not in "".join(capsys.readouterr())


class LateClock(SystemClock):
    """The system's clock, set forward by hand."""

    late_s = 0.0

    def mono_s(self):
        return super().mono_s() + self.late_s


class Hanging:
    """A source that brings one packet, does not let go until it is told to, and then brings another."""

    def __init__(self, packet, release):
        self._packet, self._release, self.closed = packet, release, threading.Event()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.closed.set()

    def packets(self):
        yield self._packet
        self._release.wait()
        yield self._packet


def test_a_thread_that_is_not_let_go_is_left_behind(make_packet, until):
    """Reports without pictures hold FFmpeg for ever: a new thread goes on, one at most is left, and it is mute."""
    release, sources, delivered, clock = threading.Event(), [], [], LateClock()
    intake = CameraIntake(Camera("cam", "", SecretUrl("rtsp://127.0.0.1/x")), clock)

    def source():
        sources.append(Hanging(make_packet(float(len(sources)), key=True), release))
        return sources[-1]

    backoff = Backoff(random.Random(1), base_s=0.05, cap_s=0.05)
    admission = Admission(clock, random.Random(4))
    feed = Feed(intake, source, delivered.append, clock=clock, backoff=backoff, admission=admission)
    feed.start()
    until(lambda: len(delivered) == 1)
    assert not feed.check()
    clock.late_s += 31
    assert feed.check()
    until(lambda: len(delivered) == 2)
    clock.late_s += 31
    assert not feed.check()
    assert (feed.abandoned, len(sources)) == (1, 2)
    feed.stop()
    release.set()
    assert feed.join(2)
    assert all(source.closed.wait(2) for source in sources)
    assert len(delivered) == 2


class Counting:
    """A source that counts how many are opening at once, and is then refused."""

    def __init__(self, seen):
        self._seen = seen

    def __enter__(self):
        self._seen["now"] += 1
        self._seen["most"] = max(self._seen["most"], self._seen["now"])
        time.sleep(0.02)
        self._seen["now"] -= 1
        self._seen["opened"] += 1
        raise UnauthorizedError("no")

    def __exit__(self, *error): ...

    def packets(self): ...


def test_no_more_cameras_connect_at_once_than_admitted(until):
    """A hundred cameras after a power cut do not connect in the same moment."""
    seen, clock = {"now": 0, "most": 0, "opened": 0}, SystemClock()
    admission = Admission(clock, random.Random(4), AdmissionLimits(per_host=2, per_s=500))
    source: PacketSource = Counting(seen)
    feeds = []
    for i in range(12):
        intake = CameraIntake(Camera(f"cam{i}", "", SecretUrl("rtsp://127.0.0.1/x")), clock)
        backoff = Backoff(random.Random(i), base_s=10)
        feeds.append(Feed(intake, lambda: source, print, clock=clock, backoff=backoff, admission=admission))
    for feed in feeds:
        feed.start()
    until(lambda: seen["opened"] == 12)
    for feed in feeds:
        feed.stop()
    assert all(feed.join(2) for feed in feeds)
    assert seen["most"] <= 2
