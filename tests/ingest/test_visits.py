# SPDX-License-Identifier: AGPL-3.0-or-later
"""Threads that visit cameras: they take what is planned, report what came, and stop."""

import random
import threading
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from gridwatch.core.camera import Fault, SightState
from gridwatch.core.clock import ManualClock, SystemClock
from gridwatch.core.redact import SecretUrl
from ingest.admission import Admission, Way
from ingest.attention import Attention
from ingest.budget import Budget, Policy
from ingest.errors import SourceError
from ingest.grab import Grabber
from ingest.rtsp import RtspOptions, RtspSource
from ingest.sight import Sight
from ingest.turns import Outcome, Watched
from ingest.visits import Brought, Visits

INFINITE = float("inf")
BRISK = Policy(rest_s=0.05, usual_visit_s=0.02, within_s=0.2, lost_within_s=0.1)


class LateClock(SystemClock):
    """The system's clock, set forward by hand."""

    late_s = 0.0

    def mono_s(self):
        return super().mono_s() + self.late_s


class Desk:
    """A visitor that writes down what it is asked, and answers what it is told."""

    def __init__(self):
        self.outcomes, self.hold = {}, threading.Event()
        self.hold.set()
        self.visited, self.promoted, self.demoted, self.promises = [], [], [], {}
        self.inside, self.most_inside, self.lock = 0, 0, threading.Lock()

    def visit(self, visit):
        with self.lock:
            self.inside += 1
            self.most_inside = max(self.most_inside, self.inside)
        self.hold.wait(10)
        with self.lock:
            self.inside -= 1
            self.visited.append(visit.camera_id)
        outcome = self.outcomes.get(visit.camera_id, Outcome.QUIET)
        if isinstance(outcome, Exception):
            raise outcome
        return Brought(outcome)

    def promote(self, camera_id):
        self.promoted.append(camera_id)

    def demote(self, cameras):
        self.demoted.append(list(cameras))

    def promised(self, camera_id, by_mono_s):
        self.promises[camera_id] = by_mono_s


@pytest.fixture
def clock():
    return LateClock()


@pytest.fixture
def visiting(clock):
    """Return a function that starts visits to cameras; they are stopped when the test ends."""
    running = []

    def start(desk, count=6, slots=3, policy=None, cameras=None):
        cameras = cameras or [Watched(f"cam-{n}") for n in range(count)]
        budget = Budget(slots)
        attention = Attention(cameras, budget, policy or BRISK, now_s=clock.mono_s())
        visits = Visits(attention, budget, desk, clock, lambda: 12)
        running.append((visits, desk))
        visits.start()
        return visits

    yield start
    for visits, desk in running:
        if hasattr(desk, "hold"):
            desk.hold.set()
        visits.stop()
        assert visits.join(10)


def test_all_cameras_are_visited_by_as_many_threads_as_there_are_slots(visiting, until):
    """Three at a time and never more; each camera is promised its next visit."""
    desk = Desk()
    desk.hold.clear()
    visits = visiting(desk)
    until(lambda: desk.inside == 3)
    desk.hold.set()
    until(lambda: set(desk.visited) == {f"cam-{n}" for n in range(6)})
    until(lambda: visits.done >= 6)
    assert desk.most_inside == 3
    assert desk.promises.keys() == {f"cam-{n}" for n in range(6)}
    assert visits.failed == 0


def test_a_visit_that_raises_is_a_failed_one(visiting, until):
    """The thread goes on, the mistake is counted, the others are visited."""
    desk = Desk()
    desk.outcomes["cam-0"] = RuntimeError("no")
    visits = visiting(desk, count=2, slots=1)
    until(lambda: desk.visited.count("cam-1") >= 2)
    until(lambda: visits.mistakes >= 1)
    assert visits.failed >= 1
    assert visits.turns_taken("cam-0").failed >= 1


def test_a_suspicious_camera_is_promoted_and_comes_back_when_it_is_quiet(visiting, until, clock):
    """It is handed over, promised nothing meanwhile, and visited again after it was demoted."""
    desk = Desk()
    desk.outcomes["cam-2"] = Outcome.SUSPICIOUS
    visits = visiting(desk, slots=4)
    until(lambda: desk.promoted == ["cam-2"])
    assert desk.promises["cam-2"] == INFINITE
    desk.outcomes.clear()
    seen = desk.visited.count("cam-2")
    visits.demote("cam-2")
    until(lambda: desk.demoted == [["cam-2"]])
    until(lambda: desk.visited.count("cam-2") > seen)
    assert clock.mono_s() < desk.promises["cam-2"] < INFINITE


def test_an_incident_asks_for_continuous_watching(visiting, until):
    """`promote` from outside reaches the visitor, and removing the camera takes its place back."""
    desk = Desk()
    visits = visiting(desk)
    visits.promote("cam-5")
    until(lambda: desk.promoted == ["cam-5"])
    visits.remove("cam-5")
    until(lambda: desk.demoted == [["cam-5"]])


def test_a_promotion_that_fails_gives_its_place_back(visiting, until):
    """The camera takes turns again, and the mistake is counted."""

    class Refusing(Desk):
        def promote(self, camera_id):
            super().promote(camera_id)
            raise OSError("no thread left")

    desk = Refusing()
    visits = visiting(desk)
    visits.promote("cam-1")
    until(lambda: visits.mistakes >= 1)
    until(lambda: desk.promises["cam-1"] < INFINITE)


def test_cameras_come_and_go(visiting, until):
    """An added camera is visited, a removed one no more."""
    desk = Desk()
    visits = visiting(desk, count=2)
    visits.add(Watched("new"), Watched("newer"))
    until(lambda: {"new", "newer"} <= set(desk.visited))
    visits.change(Watched("new", risk=4.0))
    visits.remove("cam-0")
    with pytest.raises(KeyError):
        visits.turns_taken("cam-0")
    until(lambda: desk.inside == 0)
    gone = desk.visited.count("cam-0")
    until(lambda: desk.visited.count("new") >= 5)
    assert desk.visited.count("cam-0") <= gone + 1


def test_a_visit_that_does_not_come_back_costs_its_slot_and_nothing_else(visiting, until, clock):
    """It counts as failed, the others go on with the slots that are left, and the slot returns with the thread."""

    class Holding(Desk):
        def visit(self, visit):
            if visit.camera_id == "cam-0" and not self.visited.count("cam-0"):
                with self.lock:
                    self.visited.append("cam-0")
                self.hold.wait(30)
                return Brought(Outcome.QUIET)
            with self.lock:
                self.visited.append(visit.camera_id)
            return Brought(Outcome.QUIET)

    desk = Holding()
    desk.hold.clear()
    visits = visiting(desk, count=4, slots=2, policy=replace(BRISK, continuous_share=0))
    until(lambda: "cam-0" in desk.visited)
    clock.late_s = 100.0
    until(lambda: visits.abandoned == 1)
    assert visits.stuck == 1
    until(lambda: desk.visited.count("cam-0") > 1)  # by the other thread
    desk.hold.set()
    until(lambda: visits.stuck == 0)
    assert visits.turns_taken("cam-0").failed == 1


def test_a_visit_that_stands_in_line_does_not_hang(visiting, until, clock):
    """However long the line is: its time begins when it has its place. A line that does not move at all is given up."""
    desk = Desk()
    desk.hold.clear()
    visits = visiting(desk, count=1, slots=1)
    until(lambda: desk.inside == 1)

    def given_up():
        with visits._lock:
            visits._give_up_hung()
            return visits.abandoned

    visits.in_line("cam-0", waits=True)
    clock.late_s += 500
    assert given_up() == 0
    visits.in_line("cam-0", waits=False)
    assert given_up() == 0
    clock.late_s += 30
    assert given_up() == 0
    visits.in_line("cam-0", waits=True)
    clock.late_s += 601
    assert given_up() == 1


def test_cameras_that_are_lost_together_are_left_together(visiting, until, clock):
    """One after the other, each that stalls would hold up all visits for a second."""
    desk = Desk()
    visits = visiting(desk, slots=12)
    names = ["cam-0", "cam-1", "cam-2"]
    for name in names:
        visits.promote(name)
    until(lambda: sorted(desk.promoted) == names)
    with visits._lock:
        for name in names:
            visits._attention.demote(name, clock.mono_s(), lost=True)
    until(lambda: desk.demoted == [names])


def test_only_a_visit_that_saw_lengthens_what_was_promised(clock):
    """One that brought no picture tells nothing: what an earlier one showed does not last longer for it."""
    desk, budget = Desk(), Budget(1)
    attention = Attention([Watched("a")], budget, now_s=clock.mono_s())
    visits = Visits(attention, budget, desk, clock, lambda: 12)
    for outcome in (Outcome.FAILED, Outcome.REFUSED, Outcome.QUIET, Outcome.SEEN, Outcome.SUSPICIOUS):
        clock.late_s += 1000
        (visit,) = attention.plan(clock.mono_s()).visit
        visits._report(visit, Brought(outcome), 2.0)
        assert bool(desk.promises) is outcome.saw
        desk.promises.clear()


@pytest.mark.parametrize("damaged", [False, True])
def test_a_good_visit_after_a_failed_one_counts_though_its_picture_is_decoded_later(damaged):
    """The visit is reported while its packets wait for a decoder, or the first of them was no use."""
    clock = ManualClock(datetime(2026, 5, 1, tzinfo=UTC))
    sight = Sight("cam", "gate", clock)
    sight.decoded(clock.mono_s())
    sight.between_visits(clock.mono_s() + 300)
    clock.advance(290)
    sight.failed("nothing answers", Fault.UNREACHABLE)
    clock.advance(100)
    assert sight.status().state is SightState.BLIND
    sight.connecting()
    if damaged:
        sight.failed("no picture in it", Fault.DAMAGED)
    sight.between_visits(clock.mono_s() + 300)
    assert sight.status().state is SightState.BLIND
    sight.decoded(clock.mono_s())
    clock.advance(299)
    assert sight.status().state is SightState.SEEING
    clock.advance(2)
    assert (sight.status().state, sight.status().fault) == (SightState.BLIND, Fault.NOT_VISITED)


def test_stopping_waits_for_no_visit(visiting, until):
    """`stop` returns at once and tells visitors; what was planned and not begun is not begun."""
    desk = Desk()
    desk.hold.clear()
    visits = visiting(desk, count=6, slots=2)
    until(lambda: desk.inside == 2)
    visits.stop()
    assert visits.stopping.is_set()
    assert not visits.join(0.05)
    desk.hold.set()
    assert visits.join(5)
    assert len(desk.visited) == 2


class Gate:
    """A visitor that connects to simulated cameras, grabs two key frames and drops them."""

    def __init__(self, served, clock):
        self._served, self._clock = served, clock
        self._grabber = Grabber(
            clock, Admission(clock, random.Random(1)), threading.Event(), want_keys=2, within_s=3.0
        )
        self.keys, self.promises = {}, {}

    def visit(self, visit):
        url = SecretUrl(self._served.url(visit.camera_id))
        source = RtspSource(visit.camera_id, url, self._clock, RtspOptions(stall_s=1.2, open_s=1.2))
        try:
            grabbed = self._grabber.grab(source, Way("127.0.0.1", ""), lambda packet: None)
        except SourceError:
            return Brought(Outcome.FAILED)
        self.keys[visit.camera_id] = self.keys.get(visit.camera_id, 0) + grabbed.keys
        return Brought(Outcome.QUIET, grabbed.took_s - grabbed.opened_s)

    def promised(self, camera_id, by_mono_s):
        self.promises[camera_id] = by_mono_s


def test_real_cameras_are_visited_in_turn_over_one_connection(visiting, until, serve, camera_clip, clock):
    """Three cameras, one of which is not there, over one slot: two are seen, one fails, all are promised a visit."""
    desk = Gate(serve({"gate": camera_clip, "yard": camera_clip}), clock)
    cameras = [Watched("gate"), Watched("yard"), Watched("nowhere")]
    policy = Policy(rest_s=0.1, usual_visit_s=0.5, within_s=4.0)
    visits = visiting(desk, slots=1, cameras=cameras, policy=policy)
    until(lambda: visits.done >= 6, within_s=20)
    assert desk.keys["gate"] >= 2
    assert desk.keys["yard"] >= 2
    assert visits.turns_taken("gate").covered_s > 0
    assert visits.turns_taken("nowhere").failed == visits.turns_taken("nowhere").visits > 0
    assert desk.promises.keys() == {"gate", "yard", "nowhere"}
