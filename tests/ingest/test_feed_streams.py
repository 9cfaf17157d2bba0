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
from ingest.errors import DamagedError
from ingest.evidence_feed import EvidenceFeed
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


def test_a_stream_that_opens_and_shows_little_is_left_like_one_that_cannot_be_had():
    """What counts is for how long there were pictures; ten seconds of them begin the count anew."""
    choice = StreamChoice(2)
    for good_s in (0.5, 9.9, 12.0, 0.0):
        assert not choice.failed(good_s)
    assert choice.which == 0
    choice.failed(0.0)
    assert choice.which == 1


def test_a_trial_that_shows_nothing_goes_back_to_the_second_at_once():
    """It works, and must not be left for three tries of one that does not."""
    choice = StreamChoice(2)
    choice.failed(0.0, lasting=True)
    choice.opened(0.0)
    assert choice.is_over(60.0)
    choice.opened(60.5)
    assert choice.failed(0.3)
    assert choice.which == 1


class Visits:
    """Visits to one camera: which stream each went to, and when a picture was last decoded."""

    def __init__(self, *, sub_decodes):
        self.choice, self.decodes, self.decoded_mono_s = StreamChoice(2), (sub_decodes, True), None

    def one(self, now):
        self.choice.visiting(now, self.decoded_mono_s)
        which = self.choice.which
        self.choice.opened(now + 1)
        if self.decodes[which]:
            self.decoded_mono_s = now + 2
        return which


def test_visits_without_a_picture_count_as_failures():
    """A visit is over before its pictures are decoded: what came of it is known at the next."""
    visits = Visits(sub_decodes=False)
    assert [visits.one(now) for now in range(0, 200, 20)] == [0, 0, 0, 1, 1, 1, 1, 0, 1, 1]


def test_visits_that_brought_pictures_begin_the_count_anew():
    """Three failures in a week are not three in a row."""
    visits = Visits(sub_decodes=True)
    for now in range(0, 400, 40):
        assert visits.one(now) == 0
        visits.choice.visiting(now + 20, visits.decoded_mono_s)
        visits.choice.failed(0.0)
    assert visits.choice.which == 0
    assert not visits.choice.away


def test_visits_that_follow_each_other_closely_do_not_put_the_retry_off():
    """Each of them opens the second stream; the first is tried again a minute after the first of them all the same."""
    choice = StreamChoice(2)
    choice.failed(0.0, lasting=True)
    for now in range(0, 60, 5):
        choice.opened(float(now))
        assert not choice.is_over(now + 4.0)
    assert choice.is_over(60.0)


class Looked:
    """A feed with one or two streams, and a decoder in place of the pool."""

    def __init__(self, camera_id, urls, admission, recorder="", clock=None):
        clock = clock or SystemClock()
        self.camera = Camera(camera_id, "", SecretUrl(urls[-1]), recorder=recorder)
        self.intake, self.decoder = CameraIntake(self.camera, clock), KeyDecoder()
        self.widths, self.damaged = [], 0
        sources = [self.source(SecretUrl(url), clock) for url in urls]
        backoff = Backoff(random.Random(3), base_s=0.05, cap_s=0.1)
        self.feed = Feed(
            self.intake, sources, self.deliver, clock=clock, backoff=backoff, admission=admission
        )

    def source(self, url, clock):
        return lambda: RtspSource(self.camera.camera_id, url, clock, QUICK)

    def deliver(self, packet):
        try:
            frame = self.decoder.decode(packet)
        except DamagedError as error:
            self.intake.damaged(error.reason)
            self.damaged += 1
            return
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

    def deliver(packet):
        delivered.append(packet)
        intake.damaged("a key frame cannot be decoded")  # as the shared decoders do

    feed = Feed(
        intake,
        lambda: RtspSource("cam", camera.url, clock, QUICK),
        deliver,
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


def test_a_second_stream_that_cannot_be_decoded_is_left_for_the_main_one(make_clip, serve, look, until):
    """Encrypted, or garbage: three tries, then main; tried again, it costs no more than that one try."""
    clips = {"sub": make_clip("sub.mp4", size=(160, 96), fps=20, gop=5), "main": make_clip(fps=20, gop=5)}
    served, clock = serve(clips), LateClock()
    served.fault("garbage", camera="sub", mode="slices")
    admission = Admission(clock, random.Random(4))
    looked = look("cam", [served.url("sub"), served.url("main")], admission, clock=clock)
    feed = looked.feed

    def in_vain():
        """Let half a minute of the stream that is read now pass."""
        for late_s in (0, 31):
            clock.late_s += late_s
            before = looked.damaged
            until(lambda before=before: looked.damaged >= before + 2)
        opened, failed = feed.opened, feed.failures
        feed.check()
        until(lambda: feed.failures == failed + 1 and feed.opened == opened + 1)

    for _ in range(3):
        in_vain()
    until(lambda: len(looked.widths) >= 2)
    assert set(looked.widths) == {320}
    assert Note.SUB_STREAM_AWAY in looked.status.notes
    clock.late_s += 61
    until(lambda: feed.opened == 5)
    in_vain()
    seen = len(looked.widths)
    until(lambda: len(looked.widths) >= seen + 2)
    assert set(looked.widths) == {320}
    assert (feed.opened, feed.failures) == (6, 4)


def test_a_main_stream_for_evidence_takes_no_session_from_what_is_looked_at(make_clip, serve, look, until):
    """It has the session while nobody looks; whoever looks keeps it, however long evidence has waited."""
    clip = make_clip(fps=20, gop=5, pictures=40)
    served, clock = serve({"sub": clip, "main": clip}), LateClock()
    limits = AdmissionLimits(per_s=100, sessions={"nvr": 1}, turn_s=30.0)
    admission = Admission(clock, random.Random(4), limits)
    camera = Camera("cam", "", SecretUrl(served.url("main")), recorder="nvr")
    evidence = EvidenceFeed(
        camera,
        lambda: RtspSource("cam", camera.url, clock, QUICK),
        clock=clock,
        backoff=Backoff(random.Random(3), base_s=0.05, cap_s=0.1),
        admission=admission,
    )
    evidence.hold(float("inf"))
    try:
        until(lambda: evidence.ring.bytes)
        looked = look("cam", [served.url("sub")], admission, recorder="nvr", clock=clock)
        until(lambda: looked.widths)
        until(lambda: "free session" in evidence.trouble)
        clock.late_s += 1000
        seen = len(looked.widths)
        until(lambda: len(looked.widths) >= seen + 3)
        assert (looked.feed.opened, looked.feed.failures, evidence.failures) == (1, 0, 0)
        assert "free session" in evidence.trouble
        looked.feed.stop()
        until(lambda: evidence.trouble == "")
    finally:
        evidence.stop()
        assert evidence.join(5)
