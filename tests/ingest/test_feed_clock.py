# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a feed makes of a camera's reports of its clock, and of their absence."""

import random
import threading
from dataclasses import replace
from types import SimpleNamespace

import pytest

from gridwatch.core.camera import Camera, Note
from gridwatch.core.redact import SecretUrl
from ingest.admission import Admission
from ingest.backoff import Backoff
from ingest.feed import Feed
from ingest.sight import Sight


class Hours:
    """A stream in which time passes as fast as it is read: its packets, then nothing more until it is let go."""

    def __init__(self, clock, packets):
        self._clock, self._packets = clock, packets
        self.over, self.let_go = threading.Event(), threading.Event()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.over.set()

    def packets(self):
        for packet in self._packets:
            self._clock.advance_to(packet.at_mono_s)
            yield packet
        self.over.set()
        self.let_go.wait(10)


@pytest.fixture
def read(clock, make_packet):
    """Return a function that has a feed read a stream in which the camera says this of its clock, a packet each second."""
    sight = Sight("cam", "南门", clock)

    def reading(*said):
        start = clock.mono_s()
        packets = [
            replace(make_packet(start + at + 1, key=True), camera_ahead_s=ahead_s)
            for at, ahead_s in enumerate(said)
        ]
        source = Hours(clock, packets)
        intake = SimpleNamespace(camera=Camera("cam", "", SecretUrl("rtsp://192.0.2.1/c")), sight=sight)
        intake.take = lambda _: None
        feed = Feed(
            intake,
            lambda: source,
            lambda _: None,
            clock=clock,
            backoff=Backoff(random.Random(1), base_s=60),
            admission=Admission(clock, random.Random(1)),
        )
        feed.start()
        assert source.over.wait(10)
        feed.stop()
        source.let_go.set()
        assert feed.join(10)
        return sight.status()

    return reading


def test_a_camera_that_reports_now_and_then_keeps_its_note(read):
    """Most packets come without a report, and a new opening begins without one."""
    status = read(*[None, 300.0, *[None] * 40] * 5)
    assert (status.notes, status.clock_offset_s) == ((Note.CLOCK_WRONG,), 300.0)
    assert read(*[None] * 15).notes == (Note.CLOCK_WRONG,)
    assert read(300.0, None).notes == (Note.CLOCK_WRONG,)


def test_a_camera_that_reports_no_clock_any_more_loses_its_note(read):
    """It was started anew and does not know the time: after a minute or so nothing is said of its clock."""
    assert read(None, 300.0).notes == (Note.CLOCK_WRONG,)
    status = read(*[None] * 80)
    assert (status.notes, status.clock_offset_s) == ((), None)
