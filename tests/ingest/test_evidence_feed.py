# SPDX-License-Identifier: AGPL-3.0-or-later
"""The main stream beside the one that is looked at."""

import random
from dataclasses import replace

import pytest

from gridwatch.core.camera import Camera, EvidenceFrom
from gridwatch.core.clock import SystemClock
from gridwatch.core.redact import SecretUrl
from ingest.admission import Admission
from ingest.backoff import Backoff
from ingest.evidence_feed import EvidenceFeed
from ingest.ring import Ring
from ingest.rtsp import RtspOptions, RtspSource

QUICK = RtspOptions(stall_s=1.2, open_s=1.2)


class LateClock(SystemClock):
    """The system's clock, set forward by hand."""

    late_s = 0.0

    def mono_s(self):
        return super().mono_s() + self.late_s


@pytest.fixture
def late_clock():
    return LateClock()


@pytest.fixture
def keep(late_clock):
    """Return a function that makes an evidence feed; it is stopped when the test ends."""
    made = []

    def make(url="rtsp://127.0.0.1:1/x", evidence=EvidenceFrom.ON_INCIDENT):
        camera = Camera("cam", "", SecretUrl(url), sub_url=SecretUrl("rtsp://127.0.0.1:1/sub"))
        made.append(
            EvidenceFeed(
                replace(camera, evidence=evidence),
                lambda: RtspSource("cam", camera.url, late_clock, QUICK),
                clock=late_clock,
                backoff=Backoff(random.Random(3), base_s=0.1, cap_s=0.2),
                admission=Admission(late_clock, random.Random(4)),
            )
        )
        return made[-1]

    yield make
    for feed in made:
        feed.stop()
    assert all(feed.join(5) for feed in made)


def ring_with(make_packet, times, size=100):
    ring = Ring()
    for i, at in enumerate(times):
        ring.append(make_packet(at, key=i % 5 == 0, size=size))
    return ring


def seconds(began, ended):
    return [began + 0.2 * i for i in range(round((ended - began) * 5) + 1)]


def test_it_is_read_while_it_is_held(camera_clip, serve, keep, until, late_clock):
    """Nothing is connected before; held it fills its memory; afterwards the connection ends and is made again."""
    served = serve({"main": camera_clip})
    feed = keep(served.url("main"))
    feed.start()
    feed.check()
    assert not feed.reading
    for times in (1, 2):
        feed.hold(late_clock.mono_s() + 30)
        feed.hold(late_clock.mono_s() + 5)  # a shorter one takes nothing away
        until(lambda times=times: feed._reader.opened == times)
        before = feed._keeping.ring.bytes
        until(lambda before=before: feed._keeping.ring.bytes > before)
        late_clock.late_s += 20
        feed.check()
        assert feed.reading
        assert feed.trouble == ""
        late_clock.late_s += 15
        feed.check()
        assert not feed.reading
        assert feed.join(5)


def test_always_means_from_the_start(camera_clip, serve, keep, until, late_clock):
    """Where the time before an incident matters the main stream covers it, however long nothing happens."""
    feed = keep(serve({"main": camera_clip}).url("main"), EvidenceFrom.ALWAYS)
    feed.start()
    empty = Ring()

    def covers():
        now = late_clock.mono_s()
        return feed.ring_for(empty, now - 5, now - 0.5, now) is not empty

    until(covers)
    feed.check()
    assert feed.reading


def test_its_trouble_is_told_and_no_trouble_of_sight(keep, until, late_clock):
    """Nobody there: it says why, counts, and the clip is the other stream's."""
    feed, looking = keep(), Ring()
    assert feed.trouble == ""
    feed.hold(late_clock.mono_s() + 30)
    until(lambda: feed.failures >= 2)
    assert feed.trouble.startswith("no connection")
    assert feed.ring_for(looking, 0.0, 5.0, 10.0) is looking


def test_its_memory_is_let_go_when_nobody_needs_it(camera_clip, serve, keep, until, late_clock):
    """A camera that was held once does not keep megabytes for good."""
    feed = keep(serve({"main": camera_clip}).url("main"))
    began = late_clock.mono_s()
    feed.hold(began + 30)
    kept = feed._keeping.ring
    until(lambda: kept.bytes)
    late_clock.late_s += 40
    feed.check()
    assert feed._keeping.ring is kept
    late_clock.late_s += 61
    feed.check()
    assert feed._keeping.ring is not kept
    assert feed._keeping.ring.bytes == 0


@pytest.mark.parametrize(
    ("main", "sub", "expected"),
    [
        (seconds(0, 20), seconds(0, 20), "main"),
        (seconds(9, 20), seconds(0, 20), "main"),
        (seconds(11, 20), seconds(0, 20), "sub"),
        (seconds(0, 12), seconds(0, 20), "sub"),
        (seconds(0, 14.4), seconds(0, 20), "main"),
        (seconds(0, 12), [], "main"),
        ([], seconds(0, 20), "sub"),
        (seconds(16, 20), seconds(0, 20), "sub"),
        (seconds(0, 9), seconds(0, 9), "sub"),
    ],
)
def test_a_clip_is_cut_from_the_main_stream_if_it_shows_the_opening(keep, make_packet, main, sub, expected):
    """A sharp clip that misses what happened is worth less than a small one that shows it."""
    feed, looking = keep(), ring_with(make_packet, sub)
    feed._keeping.ring = ring_with(make_packet, main)
    chosen = feed.ring_for(looking, 5.0, 10.0, 15.0)
    assert chosen is (looking if expected == "sub" else feed._keeping.ring)
