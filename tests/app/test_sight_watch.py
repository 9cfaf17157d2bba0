# SPDX-License-Identifier: AGPL-3.0-or-later
"""What was open when a camera went blind is ended by what it saw afterwards, never by the time that passed."""

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from gridwatch.app.sight_watch import SETTLE_AFTER_S, SightWatch
from gridwatch.core.camera import Fault
from gridwatch.core.clock import ManualClock
from gridwatch.core.zone import Kind
from ingest.sight import Sight


class Book:
    """Notes what it is told."""

    def __init__(self):
        self.lost, self.settled = [], []

    def camera_lost(self, camera_id, reason):
        self.lost.append((camera_id, reason))

    def settle(self, camera_id, kind):
        self.settled.append((camera_id, kind))


class Judging:
    """Detectors that have observed for a while, and whose crowds take three minutes."""

    def __init__(self):
        self.seconds = 100.0

    def observed_s(self, kind):
        return (self.seconds,)

    def claims_within_s(self, kind):
        return 180.0 if kind is Kind.CROWD else 20.0


class Camera:
    """One camera's sight and detectors, stepped every second."""

    def __init__(self, watch, clock, name="gate"):
        self.watch, self.clock, self.name = watch, clock, name
        self.sight, self.judging = Sight(name, name, clock), Judging()

    def see(self, seconds, *, observed=True):
        for _ in range(round(seconds)):
            self.clock.advance(1.0)
            self.sight.decoded(self.clock.mono_s())
            self.sight.looked(SimpleNamespace(at_mono_s=self.clock.mono_s(), captured_at=self.clock.now()))
            self.judging.seconds += observed
            self.step()

    def step(self):
        self.watch.step(self.name, self.sight, self.judging)


@pytest.fixture
def book():
    return Book()


@pytest.fixture
def watch(book):
    return SightWatch(book, lambda job: job())


@pytest.fixture
def camera(watch):
    return Camera(watch, ManualClock(datetime(2026, 5, 1, tzinfo=UTC)))


def test_it_is_ended_kind_by_kind_once_enough_was_observed(camera, book):
    """A minute at least, and as long as the detectors for a kind need; each kind once."""
    camera.see(SETTLE_AFTER_S)
    assert book.settled == []
    camera.see(2)
    assert {kind for _, kind in book.settled} == set(Kind) - {Kind.CROWD}
    camera.see(180)
    assert len(book.settled) == len(Kind)


def test_time_without_answered_looks_ends_nothing(camera, book):
    """A camera that takes turns, or whose looks get no answer, may see for an hour and know nothing."""
    camera.see(3_600, observed=False)
    assert book.settled == []
    camera.see(SETTLE_AFTER_S + 2)
    assert book.settled


def test_a_camera_that_goes_blind_again_owes_it_anew(camera, book):
    """What it saw before counts for nothing; the book is told each time."""
    camera.see(SETTLE_AFTER_S - 5)
    camera.sight.failed("gone", Fault.BROKEN_OFF)
    camera.clock.advance(60)
    camera.step()
    assert book.lost == [("gate", "gone")]
    camera.see(SETTLE_AFTER_S - 5)
    assert book.settled == []
    camera.see(10)
    assert book.settled


def test_a_camera_that_was_changed_owes_nothing_of_the_one_before(camera, watch, book):
    """Its own sight has not come back yet: what the one before saw must not end anything."""
    camera.see(SETTLE_AFTER_S - 5)
    changed = Camera(watch, camera.clock)
    changed.judging.seconds = 10_000.0
    for _ in range(300):
        changed.step()
    assert book.settled == []
    changed.see(SETTLE_AFTER_S + 2)
    assert book.settled


def test_cameras_that_are_gone_are_forgotten(camera, watch):
    """However many come and go."""
    for number in range(50):
        Camera(watch, camera.clock, f"c{number}").see(1)
    watch.forget_others({"c7": None})
    assert list(watch._owed) == ["c7"]


def test_every_zone_of_the_kind_must_have_observed_enough(camera, book):
    """A zone whose schedule has not come yet has said nothing: what was open may be there."""
    school, square = 100.0, 100.0
    camera.judging.observed_s = lambda kind: (school, square) if kind is Kind.CROWD else (100.0,)
    camera.see(1)
    square += 10_000.0
    camera.see(10)
    assert ("gate", Kind.CROWD) not in book.settled
    school += 180.0
    camera.see(1)
    assert ("gate", Kind.CROWD) in book.settled
