# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whether a camera sees."""

import threading
from datetime import timedelta

import pytest

from gridwatch.core.camera import SightState
from gridwatch.core.look import Look, LookReason
from ingest.sight import Sight, Transition

BLIND, SEEING, DEGRADED = SightState.BLIND, SightState.SEEING, SightState.DEGRADED


@pytest.fixture
def sight(clock):
    return Sight("cam", "南门", clock)


def look_at(clock, age_s=0.0):
    at = clock.mono_s() - age_s
    return Look("cam", LookReason.PATROL, at, clock.now() - timedelta(seconds=age_s), 0.0, None)


def see(sight, clock, seconds, key_s=2.0):
    """Decode and answer for some time."""
    for _ in range(int(seconds / key_s)):
        clock.advance(key_s)
        sight.decoded(clock.mono_s())
        sight.looked(look_at(clock))


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
    assert sight.tick() == Transition("cam", SEEING, BLIND, "no picture could be decoded", last)
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


def test_a_look_without_an_answer_degrades_it_until_one_is_answered(sight, clock):
    """Unknown is not nothing there."""
    see(sight, clock, 20)
    sight.tick()
    sight.unknown("the network was too slow")
    change = sight.tick()
    assert (change.before, change.after, change.reason) == (SEEING, DEGRADED, "the network was too slow")
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
