# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who may connect when."""

import random
import threading
from contextlib import ExitStack
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridwatch.core.camera import Camera, Resolver
from gridwatch.core.clock import SystemClock
from gridwatch.core.redact import SecretUrl
from ingest.admission import Admission, AdmissionLimits, Pace, Way

HERE = Way("10.0.0.7:554", "nvr-1")
THERE = Way("10.0.0.8:554", "10.0.0.8:554")
FOR_EVIDENCE = replace(HERE, yields=True)


def admission_of(**limits):
    return Admission(
        SystemClock(), random.Random(1), AdmissionLimits(**({"per_s": 1000.0, "turn_s": 0.0} | limits))
    )


@pytest.fixture
def stop():
    return threading.Event()


@given(
    st.floats(0.5, 50),
    st.lists(st.floats(0, 3), min_size=2, max_size=120),
    st.integers(0, 1000),
)
def test_openings_are_spread_over_time(per_s, gaps, seed):
    """Whenever cameras ask, no second has more beginnings than are allowed, and one that the jitter moved."""
    pace, now, begun = Pace(per_s, random.Random(seed)), 0.0, []
    for gap in gaps:
        now += gap if gap > 1 else 0.0
        begun.append(now + pace.wait_s(now))
    begun.sort()
    most = max(sum(at <= other < at + 1 for other in begun) for at in begun)
    assert most <= per_s + 2


def test_cameras_that_ask_together_get_moments_of_their_own():
    """A thousand cameras at a start do not begin in the same moment, and the first ones not late."""
    pace = Pace(20.0, random.Random(5))
    waits = [pace.wait_s(100.0) for _ in range(1000)]
    assert len({round(wait, 6) for wait in waits}) == 1000
    assert waits[0] < 0.05
    assert 49.9 < max(waits) < 50.1


def test_no_more_than_allowed_are_opening_at_one_host(until, stop):
    """The third at a host waits until one of two is through; another host is not kept waiting."""
    admission, through = admission_of(per_host=2), threading.Event()

    def third():
        with admission.opening(HERE, stop) as admitted:
            assert admitted
            through.set()

    with ExitStack() as first, ExitStack() as second:
        assert first.enter_context(admission.opening(HERE, stop))
        assert second.enter_context(admission.opening(HERE, stop))
        thread = threading.Thread(target=third)
        thread.start()
        assert not through.wait(0.2)
        with admission.opening(THERE, stop) as admitted:
            assert admitted
        first.close()
        assert through.wait(5)
    thread.join()
    assert admission.busy == 0


def test_whoever_waits_longest_is_next(until, stop):
    """Sessions are given in the order in which they were asked for."""
    admission, served = admission_of(sessions={"nvr-1": 1}), []
    with ExitStack() as held:
        waiting = []
        with admission.session(HERE) as holder:
            assert holder.wait(stop)
            for number in range(4):
                place = held.enter_context(ExitStack()).enter_context(admission.session(HERE))
                waiting.append((number, place))
            assert [place.granted for _, place in waiting] == [False] * 4
        served = [number for number, place in waiting if place.granted]
    assert served == [0]
    assert admission.busy == 0


def test_a_session_is_asked_back_from_whoever_has_it_longest(stop):
    """Cameras take turns where a recorder allows fewer sessions than it has cameras."""
    admission = admission_of(sessions={"nvr-1": 2})
    with admission.session(HERE) as oldest, admission.session(HERE) as newer:
        assert not oldest.asked_back
        with admission.session(HERE) as third:
            assert (oldest.asked_back, newer.asked_back, third.granted) == (True, False, False)
            with admission.session(HERE):
                assert newer.asked_back


def test_a_recorder_of_which_nothing_is_said_allows_any_number(stop):
    """Only what was written down is bounded, and nothing is remembered of the rest."""
    admission = admission_of()
    with ExitStack() as held:
        places = [held.enter_context(admission.session(HERE)) for _ in range(50)]
        assert all(place.wait(stop) for place in places)
        assert admission.busy == 0


def test_a_stop_ends_the_wait_and_leaves_the_line(until, stop):
    """A camera that is removed while it waits takes nobody's turn."""
    admission, answers = admission_of(sessions={"nvr-1": 1}), []

    def wait_in_vain():
        with admission.session(HERE) as place:
            answers.append(place.wait(stop))

    with admission.session(HERE) as holder:
        thread = threading.Thread(target=wait_in_vain)
        thread.start()
        until(lambda: holder.asked_back)
        stop.set()
        thread.join(5)
    assert answers == [False]
    with admission.session(HERE) as after, admission.opening(HERE, stop) as admitted:
        assert after.granted
        assert not admitted


def test_the_way_to_a_camera_names_host_and_recorder():
    """The recorder bounds sessions where one is named, else the host; of a resolver, who is asked."""
    url = SecretUrl("rtsp://admin:s3cret@10.0.0.7:554/ch1")
    assert Way.to(Camera("a", "", url)) == Way("10.0.0.7:554", "10.0.0.7:554")
    assert Way.to(Camera("a", "", url, recorder="nvr-1")) == Way("10.0.0.7:554", "nvr-1")
    assert Way.to(Camera("a", "", Resolver(command=("find-stream", "a")))).host == "find-stream"


def test_whoever_waits_is_asked_for_even_where_a_holder_left_by_itself(stop):
    """A session that came free by itself is held by one who was not asked; the next in line must not wait for ever."""
    admission = admission_of(sessions={"nvr-1": 1})
    with ExitStack() as first, ExitStack() as second, ExitStack() as third:
        first.enter_context(admission.session(HERE))
        held = second.enter_context(admission.session(HERE))
        third.enter_context(admission.session(HERE))
        first.close()
        assert held.granted
        assert held.asked_back


class Recorder:
    """Streams that stand in line at one recorder."""

    def __init__(self, sessions):
        self.admission, self.sessions = admission_of(sessions={"nvr-1": sessions}), sessions
        self._left, self.places = {}, []

    def join(self, way):
        stack = ExitStack()
        place = stack.enter_context(self.admission.session(way))
        self.places.append(place)
        self._left[place] = stack
        return place

    def leave(self, place):
        self.places.remove(place)
        self._left.pop(place).close()

    def those(self, *, yield_, granted):
        return [one for one in self.places if one.yields == yield_ and one.granted == granted]


def test_evidence_waits_until_a_session_is_free_and_gives_it_up_at_once():
    """Eight cameras with eight sessions: an incident on one of them makes none of the others blind."""
    recorder = Recorder(8)
    looking = [recorder.join(HERE) for _ in range(8)]
    evidence = recorder.join(FOR_EVIDENCE)
    assert not evidence.granted
    assert not any(one.asked_back for one in looking)
    recorder.leave(looking.pop())
    assert evidence.granted
    again = recorder.join(HERE)
    assert evidence.at_once
    assert not any(one.asked_back for one in looking)
    recorder.leave(evidence)
    assert again.granted


def test_evidence_that_waited_longer_comes_behind_a_stream_that_is_looked_at():
    """Else it would be asked back as soon as it is open."""
    recorder = Recorder(1)
    holder, evidence, looking = (recorder.join(way) for way in (HERE, FOR_EVIDENCE, HERE))
    recorder.leave(holder)
    assert (evidence.granted, looking.granted) == (False, True)


def test_evidence_takes_turns_in_what_is_left_over():
    """Among themselves these streams are equals: the one that holds its session longest is asked, for its turn's end."""
    recorder = Recorder(3)
    looking = recorder.join(HERE)
    oldest, newer, _ = (recorder.join(FOR_EVIDENCE) for _ in range(3))
    asked = [(one.asked_back, one.at_once) for one in (looking, oldest, newer)]
    assert asked == [(False, False), (True, False), (False, False)]


@given(
    st.integers(1, 4),
    st.lists(st.tuples(st.sampled_from(["look", "keep", "leave"]), st.integers(0, 30)), max_size=40),
)
def test_evidence_takes_no_session_from_a_stream_that_is_looked_at(sessions, steps):
    """Whoever comes and goes, in whatever order: no session idles, and looking goes first."""
    recorder = Recorder(sessions)
    for step, which in steps:
        before = {one: (one.granted, one.asked_back) for one in recorder.places}
        if step != "leave":
            recorder.join(HERE if step == "look" else FOR_EVIDENCE)
        elif recorder.places:
            recorder.leave(recorder.places[which % len(recorder.places)])
        looking, waiting = (recorder.those(yield_=False, granted=granted) for granted in (True, False))
        keeping, behind = (recorder.those(yield_=True, granted=granted) for granted in (True, False))
        assert len(looking) + len(keeping) == min(sessions, len(recorder.places))
        new = [one for one in recorder.places if before.get(one, (False, False))[0] != one.granted]
        assert not waiting or not any(one.yields for one in new)
        asked = [one for one in looking if one.asked_back and not before.get(one, (False, False))[1]]
        assert len(asked) <= max(0, len(waiting) - len(keeping))
        assert sum(one.at_once for one in keeping) >= min(len(waiting), len(keeping))
        assert not any(one.at_once for one in looking)
        assert sum(one.asked_back for one in looking + keeping) >= min(len(waiting), sessions)
        assert sum(one.asked_back for one in keeping) >= min(len(waiting) + len(behind), len(keeping))
    for place in list(recorder.places):
        recorder.leave(place)
    assert recorder.admission.busy == 0
