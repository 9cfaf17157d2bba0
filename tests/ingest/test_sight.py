# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whether a camera sees."""

import threading
from datetime import timedelta

import pytest

from gridwatch.core.camera import Fault, Note, SightState, Watch
from ingest.errors import (
    DamagedError,
    NotFoundError,
    StreamEndedError,
    TimedOutError,
    UnauthorizedError,
    UnreachableError,
    UnsupportedCodecError,
)
from ingest.health import Seen
from ingest.sight import Sight, Transition
from tests.ingest.sight_kit import look_at, see, visit

BLIND, SEEING, DEGRADED = SightState.BLIND, SightState.SEEING, SightState.DEGRADED


@pytest.fixture
def sight(clock):
    return Sight("cam", "南门", clock)


def test_a_camera_is_blind_until_it_was_decoded(sight, clock):
    """A configured camera that nobody has seen anything of is blind, and says why."""
    status = sight.status()
    assert (status.state, status.reason) == (BLIND, "not connected yet")
    assert (status.since, status.last_look_at, status.last_look_age_s) == (clock.now(), None, None)
    sight.connecting()
    assert sight.status().reason == "connecting"
    sight.failed("user or password are refused")
    sight.connecting()
    assert sight.status().reason == "user or password are refused"
    assert sight.tick() is None


def test_a_decoded_picture_makes_it_see(sight, clock):
    """Seeing begins with the first decoded picture and is told once."""
    clock.advance(3)
    sight.decoded(3.0)
    assert sight.tick() == Transition("cam", BLIND, SEEING, "", clock.now())
    assert sight.tick() is None
    assert sight.status().state is SEEING


@pytest.mark.parametrize(("key_s", "bound_s"), [(2.0, 10.0), (5.0, 15.0)])
def test_silence_makes_it_blind_within_the_bound(sight, clock, key_s, bound_s):
    """Nothing happens, and that is enough: after 10 s, or three key intervals, it is blind since its last picture."""
    see(sight, clock, 60, key_s)
    sight.tick()
    last = clock.now()
    clock.advance(bound_s)
    assert sight.tick() is None
    clock.advance(0.1)
    assert sight.tick() == Transition("cam", SEEING, BLIND, "no picture could be decoded", last, Fault.SILENT)
    assert sight.status().since == last


def test_a_reconnect_within_the_bound_is_no_blindness(sight, clock):
    """A stream that breaks off and is back in time stays seeing; if it is not, its failure is the reason."""
    see(sight, clock, 20)
    sight.tick()
    sight.failed("the camera closed the stream")
    sight.connecting()
    clock.advance(5)
    assert sight.status().state is SEEING
    sight.decoded(clock.mono_s())
    assert sight.tick() is None
    sight.failed("the camera closed the stream")
    clock.advance(11)
    assert (sight.status().state, sight.status().reason) == (BLIND, "the camera closed the stream")


def test_packets_that_cannot_be_decoded_are_no_sight(sight, clock):
    """A camera that sends garbage becomes blind with that reason."""
    see(sight, clock, 20)
    for _ in range(6):
        clock.advance(2)
        sight.failed("a key frame is incomplete")
    assert (sight.status().state, sight.status().reason) == (BLIND, "a key frame is incomplete")


def test_looks_without_an_answer_degrade_it_until_one_is_answered(sight, clock):
    """Unknown is not nothing there: after fifteen seconds of it, and since the first."""
    see(sight, clock, 20)
    sight.tick()
    began = clock.now()
    for _ in range(4):
        assert sight.tick() is None
        sight.unknown("the network was too slow")
        clock.advance(4)
        sight.decoded(clock.mono_s())
    change = sight.tick()
    assert (change.before, change.after, change.reason) == (SEEING, DEGRADED, "the network was too slow")
    assert (change.fault, change.at) == (Fault.UNANSWERED, began)
    clock.advance(2)
    sight.decoded(clock.mono_s())
    assert sight.status().state is DEGRADED
    sight.looked(look_at(clock))
    assert sight.tick().after is SEEING


def test_a_network_that_never_answers_degrades_it(sight, clock):
    """Pictures are decoded, looks are taken, and no answer comes: not even that one failed."""
    for _ in range(9):
        clock.advance(2)
        sight.decoded(clock.mono_s())
    assert (sight.status().state, sight.status().reason) == (DEGRADED, "the network does not answer")


def test_an_outage_is_nobodys_silence_and_no_key_interval(sight, clock):
    """Back after an hour: it sees at once, and is blind again as soon as it would have been before."""
    sight.decoded(0.0)
    clock.advance(3600)
    sight.decoded(clock.mono_s())
    assert sight.status().state is SEEING
    clock.advance(10.1)
    assert sight.status().state is BLIND


def test_a_camera_with_rare_key_frames_is_not_blind_between_them(sight, clock):
    """A key frame every 12 s, the stream running on: after the first it is known, and sight is steady."""
    states = []
    for _ in range(12):
        sight.decoded(clock.mono_s())
        for _ in range(12):
            clock.advance(1)
            states.append(sight.status().state)
    assert BLIND not in states[14:]
    clock.advance(36)
    assert sight.status().state is BLIND


def test_the_age_of_the_last_look_is_told(sight, clock):
    """The age counts from capture; an answer that comes late for an older look does not make it older."""
    clock.advance(30)
    sight.looked(look_at(clock, age_s=1.0))
    sight.looked(look_at(clock, age_s=4.0))
    clock.advance(5)
    status = sight.status()
    assert status.last_look_age_s == pytest.approx(6.0)
    assert status.last_look_at == clock.now() - timedelta(seconds=6)


def test_two_changes_between_ticks_are_told_as_one(sight, clock):
    """Who ticks learns where the camera stands, not how it got there; back where it was is no change."""
    sight.decoded(0.0)
    clock.advance(11)
    sight.status()
    assert sight.tick() is None


def test_threads_may_report_at_once(sight, clock):
    """Decoders, network and screen use one sight."""

    def work():
        for i in range(300):
            sight.decoded(float(i))
            sight.unknown("late")
            sight.looked(look_at(clock))
            sight.status()
            sight.tick()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sight.status().state is SEEING


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (UnreachableError, Fault.UNREACHABLE),
        (UnauthorizedError, Fault.UNAUTHORIZED),
        (NotFoundError, Fault.NOT_FOUND),
        (TimedOutError, Fault.SILENT),
        (StreamEndedError, Fault.BROKEN_OFF),
        (UnsupportedCodecError, Fault.UNSUPPORTED),
        (DamagedError, Fault.DAMAGED),
    ],
)
def test_a_failure_is_named(sight, error, fault):
    """Each way in which a stream cannot be had has a name beside its phrase."""
    assert sight.status().fault is Fault.UNREACHABLE
    failure = error("something is wrong")
    sight.failed(failure.reason, failure.fault)
    status = sight.status()
    assert (status.state, status.fault, status.reason) == (BLIND, fault, "something is wrong")


@pytest.mark.parametrize(
    ("fault", "state"),
    [
        (Fault.FROZEN, BLIND),
        (Fault.BLACK, BLIND),
        (Fault.COVERED, BLIND),
        (Fault.WASHED_OUT, DEGRADED),
        (Fault.BLURRED, DEGRADED),
        (Fault.MOVED, DEGRADED),
        (Fault.ELSEWHERE, DEGRADED),
    ],
)
def test_what_is_wrong_with_the_picture_is_wrong_with_the_camera(sight, clock, fault, state):
    """Pictures come and are answered, and show nothing, or too little: since the fault began, not since it was sure."""
    see(sight, clock, 60)
    sight.tick()
    sight.decoded(clock.mono_s(), Seen(fault, at_home=False, since_mono_s=clock.mono_s() - 20))
    began = clock.now() - timedelta(seconds=20)
    change = sight.tick()
    assert (change.after, change.fault, change.at) == (state, fault, began)
    assert change.reason
    assert sight.status().zones_suspended
    sight.decoded(clock.mono_s(), Seen(None, at_home=True))
    assert (sight.tick().after, sight.status().fault, sight.status().zones_suspended) == (SEEING, None, False)


def test_a_state_never_begins_before_the_one_it_follows(sight, clock):
    """A fault that began before the camera was seen at all counts from then on."""
    clock.advance(5)
    sight.decoded(clock.mono_s())
    sight.decoded(clock.mono_s(), Seen(Fault.BLURRED, at_home=True, since_mono_s=clock.mono_s() - 60))
    assert sight.status().since == clock.now()


def test_silence_outweighs_a_bad_picture(sight, clock):
    """The last picture was blurred, and then none came."""
    see(sight, clock, 60)
    sight.decoded(clock.mono_s(), Seen(Fault.BLURRED, at_home=True))
    sight.failed("it broke off", Fault.BROKEN_OFF)
    clock.advance(11)
    assert (sight.status().state, sight.status().fault) == (BLIND, Fault.BROKEN_OFF)


def test_too_few_pictures_degrade_it_until_enough_come(sight, clock):
    """From 25 a second down to 4: slow, until it is clearly more; what is enough for everything is never slow."""
    see(sight, clock, 20)
    states = []
    for pictures_per_s in (25, 25, 12, 9, 4, 8.5, 25, 4):
        sight.rate(pictures_per_s, 25.0)
        states.append(sight.status().fault)
    assert states == [None, None, None, None, Fault.SLOW, Fault.SLOW, None, Fault.SLOW]


def test_a_promise_weighs_less_than_a_habit(sight, clock):
    """A stream that announces 100 a second and sends 12, or sends one a second and says so, is as it is."""
    see(sight, clock, 20)
    for promised in (None, 100.0):
        sight.rate(12, promised)
        assert sight.status().fault is None
    slow = Sight("cam", "南门", clock)
    see(slow, clock, 20)
    slow.rate(1.0, 1.0)
    assert slow.status().fault is None
    slow.rate(1.0, 25.0)
    assert slow.status().fault is Fault.SLOW


def test_a_wrong_clock_is_noted_and_no_fault(sight, clock):
    """More than 2 s off, either way; noted until it is clearly right again or no longer known."""
    see(sight, clock, 20)
    noted = []
    for offset_s in (1.9, -2.1, -1.9, 1.7, 3.0, None):
        sight.clock(offset_s)
        noted.append(Note.CLOCK_WRONG in sight.status().notes)
        assert sight.status().clock_offset_s == offset_s
    assert noted == [False, True, True, False, True, False]
    assert sight.status().state is SEEING


def test_notes_are_told_in_one_order(sight):
    """What is said beside the state, however it was said."""
    sight.note(Note.NOT_FOLLOWED, on=True)
    sight.note(Note.RING_SHORT, on=True)
    assert sight.status().notes == (Note.RING_SHORT, Note.NOT_FOLLOWED)
    sight.note(Note.RING_SHORT, on=False)
    sight.note(Note.NO_KEY_FRAMES, on=False)
    assert sight.status().notes == (Note.NOT_FOLLOWED,)


def test_a_camera_that_is_switched_off_is_off_whatever_comes(sight, clock):
    """Off and maintenance stand above everything; switched on again it is blind until a picture comes."""
    see(sight, clock, 20)
    sight.switch(Watch.MAINTENANCE, "the pole is painted")
    see(sight, clock, 4)
    status = sight.status()
    assert (status.state, status.reason) == (SightState.MAINTENANCE, "the pole is painted")
    sight.switch(Watch.OFF, "its stream crashed the decoder twice", Fault.SET_ASIDE)
    sight.failed("nothing answers", Fault.UNREACHABLE)
    assert (sight.status().state, sight.status().fault) == (SightState.OFF, Fault.SET_ASIDE)
    sight.switch(Watch.ON)
    assert (sight.status().state, sight.status().reason) == (BLIND, "not connected yet")
    see(sight, clock, 4)
    assert sight.status().state is SEEING
    sight.switch(Watch.ON)
    assert sight.status().state is SEEING


def test_a_camera_that_takes_turns_sees_until_its_next_visit_is_due(sight, clock):
    """Between two visits nobody looks: what the last one showed holds until the stated bound, and no longer."""
    for _ in range(3):
        visit(sight, clock)
        clock.advance(299)
        assert sight.status().state is SEEING
    left = clock.now() - timedelta(seconds=299)
    clock.advance(2)
    status = sight.status()
    assert (status.state, status.fault, status.since) == (BLIND, Fault.NOT_VISITED, left)
    visit(sight, clock)
    assert sight.status().state is SEEING


def test_a_visit_that_brought_nothing_does_not_lengthen_the_last_one(sight, clock):
    """The camera could not be reached on its turn: it is blind when its last picture is too old, and says why."""
    visit(sight, clock)
    clock.advance(290)
    sight.connecting()
    sight.failed("nothing answers", Fault.UNREACHABLE)
    sight.between_visits(clock.mono_s() + 300)
    assert sight.status().state is SEEING
    clock.advance(11)
    assert (sight.status().state, sight.status().fault) == (BLIND, Fault.UNREACHABLE)


def test_a_visit_counts_once_its_picture_was_decoded(sight, clock):
    """Packets alone show nothing: until a picture comes of them the last promise stands, from then on the new one."""
    visit(sight, clock)
    clock.advance(299)
    sight.connecting()
    sight.between_visits(clock.mono_s() + 300)
    clock.advance(2)
    assert sight.status().state is BLIND
    see(sight, clock, 4)
    clock.advance(290)
    assert sight.status().state is SEEING


def test_a_promoted_camera_is_judged_as_one_that_is_always_connected(sight, clock):
    """No longer visited: silence makes it blind within the usual bound."""
    visit(sight, clock)
    sight.between_visits(None)
    see(sight, clock, 20)
    clock.advance(10.1)
    assert (sight.status().state, sight.status().fault) == (BLIND, Fault.SILENT)
