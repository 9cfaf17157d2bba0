# SPDX-License-Identifier: AGPL-3.0-or-later
"""How a stream's times become ours."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridwatch.core.clock import ManualClock
from ingest.timeline import PtsTimeline

FRAME_S = 0.04
START = datetime(2026, 5, 1, tzinfo=UTC)


def arrive(timeline, clock, arrivals):
    """Place (pts, arrival) pairs; return their monotonic times."""
    placed = []
    for pts, arrival in arrivals:
        clock.advance_to(arrival)
        placed.append(timeline.place(pts)[0])
    return placed


def test_jitter_is_taken_out(clock):
    """Packets that were held up get the time at which they were captured, once one came through quickly."""
    delays = [0.02, 0.3, 0.1, 0.02, 0.5, 0.2]
    pairs = [(i * 0.4, 100 + i * 0.4 + delay) for i, delay in enumerate(delays)]
    placed = arrive(PtsTimeline(clock), clock, pairs)
    assert placed == pytest.approx([100.02 + i * 0.4 for i in range(6)])


def test_a_burst_at_the_start_settles_on_the_newest(clock):
    """A server that first sends what it has stored does not make the stream look older for good."""
    burst = [(i * FRAME_S, 100.0) for i in range(50)]
    live = [(2.0 + i * FRAME_S, 100.04 + i * FRAME_S) for i in range(50)]
    placed = arrive(PtsTimeline(clock), clock, burst + live)
    assert placed[-1] == pytest.approx(100.04 + 49 * FRAME_S)


@given(
    st.lists(st.tuples(st.one_of(st.none(), st.floats(-1e5, 1e5)), st.floats(0, 20)), min_size=1, max_size=60)
)
def test_nothing_is_placed_after_its_arrival_nor_before_what_was_shown_earlier(steps):
    """Whatever pts does: never in the future, and rising with pts as long as no new time line begins."""
    clock = ManualClock(START)
    timeline = PtsTimeline(clock)
    before = None
    for pts, gap in steps:
        clock.advance(gap)
        anchored = timeline.anchored
        at, captured_at = timeline.place(pts)
        assert at <= clock.mono_s() + 1e-6
        assert abs((captured_at - START).total_seconds() - at) < 1e-3
        if pts is not None and before is not None and pts >= before[0] and anchored == timeline.anchored:
            assert at >= before[1] - 1e-6
        before = (pts, at) if pts is not None else before


@given(st.floats(3.5, 1e6), st.booleans())
def test_a_jump_of_pts_is_a_new_beginning(jump, back):
    """After a step of the stream's clock, either way, packets are placed at their arrival again."""
    clock = ManualClock(START)
    timeline = PtsTimeline(clock)
    even = [(i * FRAME_S, 50 + i * FRAME_S) for i in range(100)]
    arrive(timeline, clock, even)
    moved = -jump if back else jump
    after = [(4 + moved + i * FRAME_S, 54 + i * FRAME_S) for i in range(100)]
    assert arrive(timeline, clock, after) == pytest.approx([arrival for _, arrival in after], abs=1e-6)


def test_a_stall_is_not_a_jump(clock):
    """What waited in the network for 5 s was captured when it was captured."""
    timeline = PtsTimeline(clock)
    arrive(timeline, clock, [(i * FRAME_S, 10 + i * FRAME_S) for i in range(50)])
    placed = arrive(timeline, clock, [(2 + i * FRAME_S, 17.0) for i in range(125)])
    assert placed == pytest.approx([12 + i * FRAME_S for i in range(125)])


def test_reordered_pictures_keep_their_distances(clock):
    """B-frames arrive after the picture that is shown after them."""
    shown = [0.0, 0.12, 0.04, 0.08, 0.24, 0.16, 0.20]
    placed = arrive(PtsTimeline(clock), clock, [(pts, 5 + 0.04 * i) for i, pts in enumerate(shown)])
    assert [at - placed[1] for at in placed[1:]] == pytest.approx([pts - shown[1] for pts in shown[1:]])


def test_a_camera_whose_clock_runs_slow_is_followed(clock):
    """Times that fall behind by 2 % do not make the camera look minutes old after a day."""
    pairs = [(i * 0.98, 100.0 + i) for i in range(1000)]
    placed = arrive(PtsTimeline(clock), clock, pairs)
    assert pairs[-1][1] - placed[-1] < 1.5


def test_times_that_fall_behind_without_end_are_bounded(clock):
    """A camera that says 25 pictures a second and sends 12 is never held to be more than 10 s old."""
    pairs = [(i * 0.5, 100.0 + i) for i in range(400)]
    placed = arrive(PtsTimeline(clock), clock, pairs)
    assert max(arrival - at for (_, arrival), at in zip(pairs, placed, strict=True)) <= 10.0


def test_packets_without_pts_are_placed_at_their_arrival(clock):
    """The first packet of an RTSP stream has no pts, and may be the key frame."""
    placed = arrive(PtsTimeline(clock), clock, [(None, 7.0), (0.04, 7.04), (None, 7.08), (0.12, 7.12)])
    assert placed == pytest.approx([7.0, 7.04, 7.08, 7.12])


def test_times_that_stand_still_are_placed_at_their_arrival(clock):
    """After a second of packets without progress; once times rise again the stream is mapped as before."""
    standing = [(5.0, 100 + i * FRAME_S) for i in range(100)]
    rising = [(5.0 + i * FRAME_S, 104 + i * FRAME_S) for i in range(1, 50)]
    placed = arrive(PtsTimeline(clock), clock, standing + rising)
    assert placed[30:] == pytest.approx([arrival for _, arrival in [*standing, *rising][30:]], abs=0.05)


def test_reordered_pictures_after_a_stall_do_not_count_as_standing_still(clock):
    """A few pictures that are shown earlier and come late, at once after 5 s of silence: their times are believed."""
    timeline = PtsTimeline(clock)
    arrive(timeline, clock, [(i * FRAME_S, 10 + i * FRAME_S) for i in range(50)])
    placed = arrive(timeline, clock, [(pts, 17.0) for pts in (1.84, 1.88, 1.92, 2.0)])
    assert placed == pytest.approx([11.84, 11.88, 11.92, 12.0])


@pytest.mark.parametrize(
    ("ahead_s", "shown_s"), [(0.0, 0.0), (1.9, 1.9), (-1.9, -1.9), (2.1, 0.0), (-3600.0, 0.0)]
)
def test_records_carry_the_cameras_time_where_it_is_believed(clock, ahead_s, shown_s):
    """Within two seconds of ours; decisions use ours in any case."""
    timeline = PtsTimeline(clock)
    for i in range(5):
        clock.advance_to(10.0 + i)
        at, captured_at = timeline.place(float(i), clock.now() + timedelta(seconds=ahead_s))
        assert at == pytest.approx(10.0 + i)
    assert timeline.camera_ahead_s == pytest.approx(ahead_s)
    assert (captured_at - clock.now()).total_seconds() == pytest.approx(shown_s)
    timeline.reset()
    assert timeline.camera_ahead_s is None


def test_one_report_that_is_wrong_moves_nothing(clock):
    """The median of the last nine: a restart's first report may still belong to the times before."""
    timeline = PtsTimeline(clock)
    for i, ahead_s in enumerate((0.5, 0.5, 7000.0, 0.5, -900.0, 0.5, 0.5)):
        clock.advance_to(10.0 + i)
        _, captured_at = timeline.place(float(i), clock.now() + timedelta(seconds=ahead_s))
    assert (captured_at - clock.now()).total_seconds() == pytest.approx(0.5)


def test_times_that_stand_still_tell_no_clock(clock):
    """What the camera reports is reckoned from them: it would be wrong by as much as has passed."""
    timeline = PtsTimeline(clock)
    at = [clock.now()]
    for i in range(60):
        clock.advance_to(10.0 + i)
        timeline.place(min(float(i), 5.0), at[-1])
        at.append(clock.now() if i < 5 else at[-1])
    assert abs(timeline.camera_ahead_s) <= 1.0


class SteppingClock(ManualClock):
    """A clock whose wall time can be set."""

    step = timedelta()

    def now(self):
        return super().now() + self.step


def test_a_step_of_the_wall_clock_moves_only_the_record():
    """Decisions use monotonic time; a corrected wall clock shows in captured_at alone."""
    clock = SteppingClock(START)
    timeline = PtsTimeline(clock)
    first = timeline.place(0.0)
    clock.advance(1.0)
    clock.step = timedelta(hours=-3)
    second = timeline.place(1.0)
    assert second[0] - first[0] == pytest.approx(1.0)
    assert second[1] - first[1] == timedelta(hours=-3, seconds=1)
