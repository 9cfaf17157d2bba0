# SPDX-License-Identifier: AGPL-3.0-or-later
"""Short visits: connect, grab, drop."""

import random
import threading
import time
from datetime import UTC, datetime

import pytest

from gridwatch.core.clock import ManualClock, SystemClock
from gridwatch.core.redact import SecretUrl
from ingest.admission import Admission, AdmissionLimits, Way
from ingest.errors import NotFoundError, StreamEndedError, TimedOutError
from ingest.grab import Grabber
from ingest.rtsp import RtspOptions, RtspSource

WAY = Way("127.0.0.1", "nvr")


@pytest.fixture
def stop():
    return threading.Event()


@pytest.fixture
def admission():
    return Admission(SystemClock(), random.Random(4), AdmissionLimits(sessions={"nvr": 1}))


def source_of(url):
    return RtspSource("cam", SecretUrl(url), SystemClock(), RtspOptions(stall_s=1.2, open_s=1.2))


def test_a_visit_ends_with_its_last_key_frame(camera_clip, serve, admission, stop):
    """Two key frames and all between them; the connection is gone afterwards, and so are the places."""
    served, taken = serve({"gate": camera_clip}), []
    grabber = Grabber(SystemClock(), admission, stop)
    for _ in range(2):
        taken.clear()
        grabbed = grabber.grab(source_of(served.url()), WAY, taken.append)
        assert (grabbed.keys, grabbed.packets) == (2, len(taken))
        assert [packet.is_key for packet in taken].count(True) == 2
        assert taken[-1].is_key
        assert grabbed.payload_bytes == sum(packet.size for packet in taken)
        assert 0 < grabbed.opened_s <= grabbed.took_s < 3
    assert admission.busy == 0


def test_a_visit_is_bounded_by_time(camera_clip, serve, admission, stop):
    """A camera with rare key frames is left with the ones that came."""
    grabber = Grabber(SystemClock(), admission, stop, want_keys=1000, within_s=0.6)
    grabbed = grabber.grab(source_of(serve({"gate": camera_clip}).url()), WAY, print)
    assert 1 <= grabbed.keys < 10
    assert grabbed.took_s < 2


class Slow:
    """A camera that takes four seconds to open, and sends a key frame a second."""

    def __init__(self, clock, make_packet):
        self._clock, self._make = clock, make_packet

    def __enter__(self):
        self._clock.advance(4.0)
        return self

    def __exit__(self, *error):
        return None

    def packets(self):
        while True:
            self._clock.advance(1.0)
            yield self._make(self._clock.mono_s(), key=True)


def test_the_time_of_a_visit_begins_with_the_first_byte_sent(make_packet, stop, until):
    """Neither a line at its host nor at its recorder is charged to a camera; its own opening is."""
    clock = ManualClock(datetime(2026, 5, 1, tzinfo=UTC))
    admission = Admission(clock, random.Random(4), AdmissionLimits(per_host=1, sessions={"nvr": 1}))
    grabber = Grabber(clock, admission, stop, want_keys=1000, within_s=7.5)
    begun, results = [], []

    def visit():
        source = Slow(clock, make_packet)
        results.append(grabber.grab(source, WAY, str, lambda: begun.append(clock.mono_s())))

    thread = threading.Thread(target=visit)
    with admission.opening(WAY, stop):
        thread.start()
        until(lambda: admission._hosts[WAY.host].waiting)
        clock.advance(600.0)
        assert begun == []
    thread.join(10)
    (grabbed,) = results
    assert begun == [600.0]
    assert (grabbed.began_mono_s, grabbed.opened_s, grabbed.took_s, grabbed.keys) == (600.0, 4.0, 8.0, 4)


def test_a_visit_that_brings_no_key_frame_has_failed(make_packet, admission, stop):
    """Pictures that refer to one that never came show nothing."""

    class Endless:
        def __enter__(self):
            return self

        def __exit__(self, *error):
            self.closed = True

        def packets(self):
            while True:
                yield make_packet(1.0)

    source = Endless()
    with pytest.raises(TimedOutError, match="no key frame"):
        Grabber(SystemClock(), admission, stop, within_s=0.05).grab(source, WAY, str)
    assert source.closed


def test_a_camera_that_cannot_be_had_gives_its_place_back(camera_clip, serve, admission, stop):
    """The error is the source's own; the next visitor does not wait."""
    served = serve({"gate": camera_clip})
    grabber = Grabber(SystemClock(), admission, stop)
    with pytest.raises(NotFoundError):
        grabber.grab(source_of(served.url("nowhere")), WAY, print)
    assert admission.busy == 0
    assert grabber.grab(source_of(served.url()), WAY, str).keys == 2


def test_a_stop_ends_a_visit_that_waits_and_one_that_reads(camera_clip, serve, admission, stop, until):
    """Visitors end with the process."""
    served, results = serve({"gate": camera_clip}), []
    grabber = Grabber(SystemClock(), admission, stop, want_keys=1000, within_s=60)
    taken = []

    def visit():
        try:
            results.append(grabber.grab(source_of(served.url()), WAY, taken.append).keys)
        except StreamEndedError as error:
            results.append(error.reason)

    threads = [threading.Thread(target=visit) for _ in range(2)]
    for thread in threads:
        thread.start()
    until(lambda: len(taken) > 3)
    began = time.monotonic()
    stop.set()
    for thread in threads:
        thread.join(5)
    assert time.monotonic() - began < 4
    assert "the visit was called off" in results
    assert len(results) == 2
