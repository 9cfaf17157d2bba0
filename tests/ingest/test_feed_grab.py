# SPDX-License-Identifier: AGPL-3.0-or-later
"""Short visits: connect, grab, drop."""

import random
import threading
import time

import pytest

from gridwatch.core.clock import SystemClock
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
