# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is not said of a camera too early, and not for longer than it is so."""

import pytest

from gridwatch.core.camera import Fault, Note, SightState
from ingest.sight import Sight
from tests.ingest.sight_kit import look_at, see, visit

BLIND, SEEING, DEGRADED = SightState.BLIND, SightState.SEEING, SightState.DEGRADED


@pytest.fixture
def sight(clock):
    return Sight("cam", "南门", clock)


def test_a_single_look_without_an_answer_says_nothing_of_the_camera(sight, clock):
    """One that was shed, now and then, is no fault: neither while it is the last, nor as one of many."""
    see(sight, clock, 20)
    sight.tick()
    for _ in range(20):
        sight.unknown("the network was too slow")
        clock.advance(4)
        sight.decoded(clock.mono_s())
        assert sight.tick() is None
        sight.looked(look_at(clock))
        see(sight, clock, 4)
    visit(sight, clock)
    sight.unknown("the network was too slow")
    clock.advance(250)
    assert sight.status().state is SEEING


def test_visits_whose_looks_are_never_answered_degrade_it(sight, clock):
    """A visit brings one look; that minutes pass between two of them makes nothing of what was missed."""
    visit(sight, clock)
    for number in range(3):
        clock.advance(250)
        sight.decoded(clock.mono_s())
        sight.between_visits(clock.mono_s() + 300)
        assert (sight.status().state is DEGRADED) == (number == 2)
        sight.unknown("overload")
    assert sight.status().reason == "overload"
    sight.looked(look_at(clock))
    assert sight.status().state is SEEING


def test_a_first_turn_is_not_waited_for_for_ever(sight, clock):
    """A promise may be restated; from twice the first one on it is a trouble."""
    sight.takes_turns()
    for _ in range(6):
        sight.between_visits(clock.mono_s() + 300)
        clock.advance(250)
    assert not sight.status().waits


def test_a_look_that_cannot_be_judged_degrades_it_at_once(sight, clock):
    """The network answers, and what it says cannot be used: that is no hiccup."""
    see(sight, clock, 20)
    sight.looked(look_at(clock))
    sight.unknown("a look could not be judged", at_once=True)
    assert (sight.status().state, sight.status().reason) == (DEGRADED, "a look could not be judged")
    sight.looked(look_at(clock))
    assert sight.status().state is SEEING


def test_a_silent_network_stays_one_when_its_looks_are_given_up(sight, clock):
    """That a look timed out is no sign of life."""
    for _ in range(9):
        clock.advance(2)
        sight.decoded(clock.mono_s())
    assert sight.status().state is DEGRADED
    sight.unknown("the look took too long")
    clock.advance(2)
    sight.decoded(clock.mono_s())
    assert (sight.status().state, sight.status().reason) == (DEGRADED, "the look took too long")


def test_a_camera_that_waits_for_its_first_turn_is_blind_and_no_trouble(sight, clock):
    """Nobody has tried to see it yet: it says so, and from the promised time on that its turn is overdue."""
    sight.takes_turns()
    sight.between_visits(clock.mono_s() + 300)
    status = sight.status()
    assert (status.state, status.fault, status.waits) == (BLIND, Fault.NOT_VISITED, True)
    assert status.reason == "its first turn has not come"
    clock.advance(299)
    assert sight.status().waits
    sight.between_visits(clock.mono_s() + 100)  # promised anew, before it was broken
    clock.advance(99)
    assert sight.status().waits
    clock.advance(2)
    status = sight.status()
    assert (status.fault, status.reason, status.waits) == (
        Fault.NOT_VISITED,
        "its turn has not come",
        False,
    )
    visit(sight, clock)
    assert (sight.status().state, sight.status().waits) == (SEEING, False)


def test_a_camera_that_was_tried_and_failed_says_so(sight, clock):
    """Also when it takes turns only then, and whatever is promised of the next one."""
    sight.takes_turns()
    sight.between_visits(clock.mono_s() + 300)
    sight.connecting()
    assert (sight.status().reason, sight.status().waits) == ("connecting", False)
    sight.failed("nothing answers", Fault.UNREACHABLE)
    sight.between_visits(clock.mono_s() + 300)
    sight.takes_turns()
    status = sight.status()
    assert (status.fault, status.reason, status.waits) == (Fault.UNREACHABLE, "nothing answers", False)


def test_a_camera_that_is_read_all_the_time_after_all_does_not_wait(sight, clock):
    """There was room for it before its turn came."""
    sight.takes_turns()
    sight.between_visits(clock.mono_s() + 300)
    sight.between_visits(None)
    assert (sight.status().fault, sight.status().waits) == (Fault.UNREACHABLE, False)


def test_a_clock_that_is_not_reported_any_more_is_not_known(sight, clock):
    """A minute of stream without a report, in how many openings ever; each report begins it anew."""
    see(sight, clock, 20)
    sight.clock(300.0)
    for _ in range(20):
        sight.unreported(29)
        sight.unreported(29)
        sight.clock(300.0)
    assert Note.CLOCK_WRONG in sight.status().notes
    for _ in range(20):
        sight.unreported(3)
    assert (sight.status().notes, sight.status().clock_offset_s) == ((), None)


def test_a_camera_that_was_away_is_not_slow_for_it(sight, clock):
    """What was measured while nothing came, and over the moment at which it came back, is forgotten."""
    see(sight, clock, 20)
    for _ in range(3):
        sight.rate(25, 25.0)
    sight.rate(0, 25.0)
    sight.failed("nothing came for 10 s", Fault.SILENT)
    clock.advance(20)
    assert sight.status().fault is Fault.SILENT
    see(sight, clock, 2)
    assert sight.status().state is SEEING
    sight.rate(3, 25.0)
    assert sight.status().state is SEEING
    sight.rate(3, 25.0)
    assert sight.status().fault is Fault.SLOW
