# SPDX-License-Identifier: AGPL-3.0-or-later
"""Two streams of one camera, and two cameras of one session: what is read when."""

import random

import pytest

from gridwatch.core.camera import Camera, Fault, Note, SightState
from gridwatch.core.clock import SystemClock
from gridwatch.core.redact import SecretUrl
from ingest.admission import Admission, AdmissionLimits
from ingest.backoff import Backoff
from ingest.decoder import KeyDecoder
from ingest.feed import Feed
from ingest.intake import CameraIntake
from ingest.rtsp import RtspOptions, RtspSource
from ingest.streams import StreamChoice

QUICK = RtspOptions(stall_s=1.2, open_s=1.2)


def test_after_three_failures_the_other_stream_is_read():
    """A second stream that cannot be had is not waited for; one failure alone changes nothing."""
    choice = StreamChoice(2)
    assert [choice.failed(0.0) for _ in range(2)] == [False, False]
    assert choice.which == 0
    choice.failed(0.0)
    assert choice.which == 1
    assert not choice.away
    choice.opened(100.0)
    assert choice.away


def test_a_lasting_failure_is_not_tried_three_times():
    """No such path: it will not be there the next second either."""
    choice = StreamChoice(2)
    choice.failed(0.0, lasting=True)
    assert choice.which == 1


def test_a_camera_with_one_stream_has_no_choice():
    """It is tried for ever."""
    choice = StreamChoice(1)
    for _ in range(20):
        choice.failed(0.0, lasting=True)
    assert choice.which == 0


def test_a_camera_that_is_away_is_asked_for_both_by_turns():
    """While nothing answers at all, neither stream is forgotten."""
    choice, asked = StreamChoice(2), []
    for _ in range(8):
        asked.append(choice.which)
        choice.failed(0.0)
    assert asked == [0, 0, 0, 1, 0, 1, 0, 1]


def test_the_first_stream_is_tried_again_ever_more_rarely():
    """After a minute, two, four …, an hour; where it still cannot be had the other is gone on with at once."""
    choice, now, gaps = StreamChoice(2), 0.0, []
    choice.failed(0.0, lasting=True)
    for _ in range(9):
        choice.opened(now)
        began = now
        while not choice.is_over(now):
            now += 1.0
        gaps.append(now - began)
        assert choice.which == 0
        assert choice.failed(0.0)
        assert choice.which == 1
    assert gaps == [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]


def test_a_first_stream_that_is_back_stays():
    """It is what was asked for; one break after a good hour does not lead away from it."""
    choice = StreamChoice(2)
    choice.failed(0.0, lasting=True)
    choice.opened(0.0)
    assert choice.is_over(60.0)
    choice.opened(60.5)
    assert not choice.away
    assert not choice.failed(3600.0)
    assert choice.which == 0


class Looked:
    """A feed with one or two streams, and a decoder in place of the pool."""

    def __init__(self, camera_id, urls, admission, recorder=""):
        clock = SystemClock()
        self.camera = Camera(camera_id, "", SecretUrl(urls[-1]), recorder=recorder)
        self.intake, self.decoder, self.widths = CameraIntake(self.camera, clock), KeyDecoder(), []
        sources = [self.source(SecretUrl(url), clock) for url in urls]
        backoff = Backoff(random.Random(3), base_s=0.05, cap_s=0.1)
        self.feed = Feed(
            self.intake, sources, self.deliver, clock=clock, backoff=backoff, admission=admission
        )

    def source(self, url, clock):
        return lambda: RtspSource(self.camera.camera_id, url, clock, QUICK)

    def deliver(self, packet):
        frame = self.decoder.decode(packet)
        self.widths.append(frame.width)
        self.intake.see(packet, frame)

    @property
    def status(self):
        return self.intake.sight.status()


@pytest.fixture
def look():
    """Return a function that starts a feed; it is stopped when the test ends."""
    started = []

    def start(*args, **options):
        looked = Looked(*args, **options)
        looked.feed.start()
        started.append(looked.feed)
        return looked

    yield start
    for feed in started:
        feed.stop()
    assert all(feed.join(5) for feed in started)


def test_the_main_stream_is_looked_at_while_the_other_cannot_be_had(make_clip, serve, look, until):
    """The camera sees, and says that it is not by the stream that it should be seen by."""
    served = serve({"main": make_clip(fps=20, gop=5, pictures=40)})
    admission = Admission(SystemClock(), random.Random(4))
    looked = look("cam", [served.url("sub"), served.url("main")], admission)
    until(lambda: len(looked.widths) >= 2)
    assert looked.status.state is not SightState.BLIND
    assert Note.SUB_STREAM_AWAY in looked.status.notes


def test_the_second_stream_is_looked_at_where_there_is_one(make_clip, serve, look, until):
    """Both can be had: the smaller is read, nothing is said, and the main stream has no viewer."""
    clips = {"sub": make_clip("sub.mp4", size=(160, 96), fps=20, gop=5), "main": make_clip(fps=20, gop=5)}
    served = serve(clips)
    admission = Admission(SystemClock(), random.Random(4))
    looked = look("cam", [served.url("sub"), served.url("main")], admission)
    until(lambda: len(looked.widths) >= 2)
    assert set(looked.widths) == {160}
    assert looked.status.notes == ()


def test_cameras_take_turns_where_a_recorder_allows_one_session(make_clip, serve, look, until):
    """Both are seen, never at the same time; the one that waits says so, and nothing counts as a failure."""
    clip = make_clip(fps=20, gop=5, pictures=40)
    served = serve({"a": clip, "b": clip})
    limits = AdmissionLimits(per_s=100, sessions={"nvr": 1}, turn_s=0.5)
    admission = Admission(SystemClock(), random.Random(4), limits)
    both = [look(path, [served.url(path)], admission, recorder="nvr") for path in ("a", "b")]
    waited = [False, False]

    def had_two_turns():
        for i, one in enumerate(both):
            waited[i] = waited[i] or "free session" in one.status.reason
        return all(one.feed.opened >= 2 for one in both)

    until(had_two_turns, within_s=20)
    assert any(waited)
    assert [one.feed.failures for one in both] == [0, 0]


class LateClock(SystemClock):
    """The system's clock, set forward by hand."""

    late_s = 0.0

    def mono_s(self):
        return super().mono_s() + self.late_s


def test_packets_that_come_to_nothing_end_a_stream(camera_clip, serve, until):
    """What comes cannot be decoded for half a minute: the camera is asked anew what it sends."""
    clock, delivered = LateClock(), []
    camera = Camera("cam", "", SecretUrl(serve({"gate": camera_clip}).url()))
    intake = CameraIntake(camera, clock)
    feed = Feed(
        intake,
        lambda: RtspSource("cam", camera.url, clock, QUICK),
        delivered.append,
        clock=clock,
        backoff=Backoff(random.Random(3), base_s=0.05, cap_s=0.1),
        admission=Admission(clock, random.Random(4)),
    )
    feed.start()

    def after_two_more():
        before = len(delivered)
        until(lambda: len(delivered) >= before + 2)

    after_two_more()
    feed.check()
    after_two_more()
    assert feed.opened == 1
    clock.late_s += 31
    after_two_more()
    assert not feed.check()
    until(lambda: feed.opened == 2)
    after_two_more()
    assert intake.sight.status().fault is Fault.DAMAGED
    clock.late_s += 31
    after_two_more()
    intake.sight.decoded(clock.mono_s())
    feed.check()
    after_two_more()
    assert (feed.opened, feed.failures) == (2, 1)
    feed.stop()
    assert feed.join(5)
