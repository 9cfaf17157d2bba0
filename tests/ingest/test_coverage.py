# SPDX-License-Identifier: AGPL-3.0-or-later
"""The count of how long cameras saw."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone

import pytest

from events.operations import Operations
from events.operations_reading import OperationsReader
from events.stores.sql import Store
from gridwatch.core.camera import CameraStatus, Fault, SightState
from gridwatch.core.clock import ManualClock
from gridwatch.core.coverage import CameraDay
from ingest.coverage import BACK_S, Coverage

BEIJING = timezone(timedelta(hours=8))
TODAY = date(2026, 5, 1)


@pytest.fixture
def coverage(clock):
    coverage = Coverage(clock, BEIJING)
    coverage.step([])
    return coverage


def status(clock, state, *, camera_id="cam", fault=None, age_s=3.0, suspended=False, lasting_s=0.0):
    since = clock.now() - timedelta(seconds=lasting_s)
    return CameraStatus(
        camera_id, "南门", state, "", since, clock.now(), age_s, fault, zones_suspended=suspended
    )


def watch(coverage, clock, seconds, state, *, step_s=5, **said):
    for _ in range(seconds // step_s):
        clock.advance(step_s)
        coverage.step([status(clock, state, **said)])


@pytest.mark.parametrize(
    ("state", "fault", "field", "looked_at_s"),
    [
        (SightState.SEEING, None, "seeing_s", 60),
        (SightState.DEGRADED, Fault.BLURRED, "degraded_s", 60),
        (SightState.DEGRADED, Fault.ELSEWHERE, "elsewhere_s", 60),
        (SightState.BLIND, Fault.SILENT, "blind_s", 0),
        (SightState.OFF, Fault.SWITCHED_OFF, "off_s", 0),
        (SightState.MAINTENANCE, Fault.SWITCHED_OFF, "maintenance_s", 0),
    ],
)
def test_each_second_is_counted_by_what_the_camera_was(coverage, clock, state, fault, field, looked_at_s):
    """Seeing, degraded, elsewhere, blind, off and in maintenance; looked at only where it sees at all."""
    watch(coverage, clock, 60, state, fault=fault)
    assert coverage.take() == [CameraDay(camera_id="cam", day=TODAY, looked_at_s=looked_at_s, **{field: 60})]


@pytest.mark.parametrize(
    ("age_s", "suspended", "looked_at_s"),
    [(9.9, False, 60), (10.1, False, 0), (None, False, 0), (3.0, True, 0)],
)
def test_looked_at_is_what_a_look_in_its_cadence_covers(coverage, clock, age_s, suspended, looked_at_s):
    """A look that is too old covers nothing, and a picture from elsewhere does not cover the zones."""
    watch(coverage, clock, 60, SightState.SEEING, age_s=age_s, suspended=suspended)
    assert coverage.take()[0].looked_at_s == looked_at_s


def test_what_was_taken_is_not_counted_again(coverage, clock):
    """Rows hold what came since the last taking; nothing new is no row."""
    watch(coverage, clock, 60, SightState.SEEING)
    assert coverage.take()[0].seeing_s == 60
    assert coverage.take() == []
    watch(coverage, clock, 10, SightState.SEEING)
    assert coverage.take()[0].seeing_s == 10


def test_blindness_counts_from_the_last_picture_on(coverage, clock):
    """It was found out after ten seconds: they were none of seeing, whatever was thought then."""
    watch(coverage, clock, 60, SightState.SEEING)
    clock.advance(5)
    coverage.step([status(clock, SightState.BLIND, lasting_s=12)])
    (day,) = coverage.take()
    assert (day.seeing_s, day.blind_s) == (53, 12)


class Machine:
    """A count that is handed over to a real database every minute, as `gridwatch run` does."""

    def __init__(self, file, clock):
        self.clock = clock
        self.store = Store.open(f"sqlite:///{file}")
        self.coverage, self.operations = Coverage(clock, BEIJING), Operations(self.store, clock)
        self.coverage.step([])

    def watch(self, seconds, state, *, lasts=False, **said):
        """Let time pass; with `lasts` the state has stood since it was said first, `lasting_s` before that."""
        before_s = said.pop("lasting_s", 0.0)
        for at_s in range(5, seconds + 1, 5):
            self.clock.advance(5)
            lasting_s = before_s + (at_s - 5 if lasts else 0.0)
            self.coverage.step([status(self.clock, state, lasting_s=lasting_s, **said)])
            if self.clock.mono_s() % 60 == 0:
                self.hand_over()

    def hand_over(self):
        self.operations.add_days(self.coverage.take())

    def days(self):
        """Return what the database has, newest day first, after the last handing over."""
        self.hand_over()
        return OperationsReader(self.store).days_of("cam")


@pytest.fixture
def machine(tmp_path, clock):
    made = Machine(tmp_path / "gridwatch.db", clock)
    yield made
    made.store.close()


def test_a_picture_that_was_frozen_for_minutes_is_blind_from_the_last_good_one_on(machine):
    """What was handed over as seeing and looked at long before the fault was certain is taken back."""
    machine.watch(600, SightState.SEEING)
    machine.watch(120, SightState.BLIND, fault=Fault.FROZEN, lasting_s=305, lasts=True)
    expected = CameraDay(camera_id="cam", day=TODAY, seeing_s=300, blind_s=420, looked_at_s=300)
    assert machine.days() == [expected]


def test_a_camera_that_dies_after_a_visit_was_blind_since_that_visit(machine):
    """It takes turns, and sees on what its last visit showed until its bound has passed; then nobody knows of that time."""
    for _ in range(3):
        machine.watch(10, SightState.SEEING, age_s=3.0)
        machine.watch(890, SightState.SEEING, age_s=100.0)
    machine.watch(5, SightState.BLIND, fault=Fault.NOT_VISITED, age_s=900.0, lasting_s=895)
    (day,) = machine.days()
    assert (day.seeing_s, day.blind_s, day.looked_at_s) == (1810, 895, 30)


def test_yesterday_is_counted_again_too(tmp_path):
    """The fault began before midnight and was certain after it: each day gets its own part."""
    clock = ManualClock(datetime(2026, 5, 1, 15, 50, tzinfo=UTC))
    machine = Machine(tmp_path / "gridwatch.db", clock)
    machine.watch(780, SightState.SEEING)
    machine.watch(5, SightState.BLIND, fault=Fault.FROZEN, lasting_s=300)
    after, before = machine.days()
    assert (before.day, before.seeing_s, before.blind_s, before.looked_at_s) == (TODAY, 485, 110, 485)
    assert (after.seeing_s, after.blind_s, after.looked_at_s) == (0, 190, 0)
    machine.store.close()


def test_what_was_worse_stays_what_it_was(machine):
    """A picture that comes after a silence does not make it less: only what was better is counted again."""
    machine.watch(60, SightState.SEEING)
    machine.watch(60, SightState.BLIND, fault=Fault.SILENT)
    machine.watch(60, SightState.DEGRADED, fault=Fault.BLURRED, lasting_s=55, lasts=True)
    machine.watch(60, SightState.DEGRADED, fault=Fault.ELSEWHERE, lasting_s=115, lasts=True)
    machine.watch(60, SightState.SEEING, lasting_s=120, lasts=True)
    (day,) = machine.days()
    assert (day.seeing_s, day.blind_s, day.degraded_s, day.elsewhere_s) == (120, 60, 60, 60)
    machine.watch(5, SightState.DEGRADED, fault=Fault.BLURRED, lasting_s=245)
    (day,) = machine.days()
    assert (day.seeing_s, day.blind_s, day.degraded_s, day.elsewhere_s) == (60, 60, 125, 60)


@pytest.mark.parametrize(("fault", "suspended", "looked_at_s"), [("moved", True, 30), ("blurred", False, 65)])
def test_what_was_looked_at_with_zones_that_did_not_fit_was_not(machine, fault, suspended, looked_at_s):
    """Of a camera that was moved looks cover nothing since it was; blurred ones are looks all the same."""
    machine.watch(60, SightState.SEEING)
    machine.watch(5, SightState.DEGRADED, fault=Fault(fault), suspended=suspended, lasting_s=35)
    (day,) = machine.days()
    assert (day.seeing_s, day.degraded_s, day.looked_at_s) == (30, 35, looked_at_s)


def test_at_most_two_hours_are_counted_again(machine):
    """Whatever a state says of its beginning."""
    machine.watch(9_000, SightState.SEEING)
    machine.watch(5, SightState.BLIND, lasting_s=20_000)
    (day,) = machine.days()
    assert (day.seeing_s, day.blind_s) == (9_005 - BACK_S, BACK_S)


class SetClock(ManualClock):
    """Its wall time can be set."""

    set_s = 0.0

    def now(self):
        return super().now() + timedelta(seconds=self.set_s)


def test_a_wall_clock_that_is_set_makes_nothing_blind(tmp_path):
    """It was put forward by an hour: the camera that went silent just before was not blind for an hour."""
    clock = SetClock(datetime(2026, 5, 1, 2, 0, tzinfo=UTC))
    machine = Machine(tmp_path / "gridwatch.db", clock)
    machine.watch(600, SightState.SEEING)
    clock.set_s = 3_600
    machine.watch(10, SightState.BLIND, lasting_s=3_610, lasts=True)
    assert sum(day.blind_s for day in machine.days()) == 10
    machine.watch(60, SightState.SEEING)
    machine.watch(5, SightState.BLIND, lasting_s=25)
    assert sum(day.blind_s for day in machine.days()) == 35
    machine.store.close()


def test_what_is_remembered_of_a_camera_is_bounded(coverage, clock):
    """Looks that come just in time or just too late make a spell of each step: the last ones are counted again."""
    for _ in range(200):
        watch(coverage, clock, 5, SightState.SEEING, age_s=9.0)
        watch(coverage, clock, 5, SightState.SEEING, age_s=11.0)
    assert max(len(spells) for spells in coverage._spells.values()) <= 64
    clock.advance(5)
    coverage.step([status(clock, SightState.BLIND, lasting_s=1_000)])
    (day,) = coverage.take()
    assert day.blind_s == pytest.approx(64 * 5 + 5)
    assert day.seeing_s + day.blind_s == 2_005


def test_no_day_becomes_less_than_nothing(machine):
    """The store lost a day, or never had it: what is taken back finds nothing."""
    less = CameraDay(camera_id="cam", day=TODAY, seeing_s=-300, blind_s=300, looked_at_s=-1)
    machine.operations.add_days([less])
    assert machine.days() == [CameraDay(camera_id="cam", day=TODAY, blind_s=300)]
    machine.operations.add_days([replace(less, seeing_s=100), less])
    machine.operations.add_days([replace(less, blind_s=-50)])
    assert machine.days() == [CameraDay(camera_id="cam", day=TODAY, blind_s=850)]


def test_a_day_ends_at_local_midnight(clock):
    """16:00 UTC is midnight in Beijing: what comes later is another row."""
    clock = ManualClock(datetime(2026, 5, 1, 15, 59, 30, tzinfo=UTC))
    coverage = Coverage(clock, BEIJING)
    coverage.step([])
    watch(coverage, clock, 60, SightState.SEEING)
    rows = {row.day: row.seeing_s for row in coverage.take()}
    assert rows == {TODAY: 25, TODAY + timedelta(days=1): 35}


def test_a_pause_of_the_process_is_nobodys_time(coverage, clock):
    """A machine that slept for an hour did not watch for an hour, nor was its camera blind for one."""
    watch(coverage, clock, 60, SightState.SEEING)
    clock.advance(3600)
    coverage.step([status(clock, SightState.SEEING)])
    assert coverage.take()[0].seeing_s == 60


def test_cameras_come_and_go(coverage, clock):
    """A camera that was taken away is counted no more, and one that comes back is not charged for its absence."""
    both = [status(clock, SightState.SEEING, camera_id=name) for name in ("a", "b")]
    clock.advance(5)
    coverage.step(both)
    clock.advance(5)
    coverage.step(both[:1])
    clock.advance(5)
    coverage.step([both[0], replace(both[1], state=SightState.BLIND)])
    rows = {row.camera_id: row for row in coverage.take()}
    assert (rows["a"].seeing_s, rows["b"].seeing_s, rows["b"].blind_s) == (15, 5, 5)


def test_days_that_nobody_takes_are_forgotten_in_the_end(clock):
    """The store is away for a month: memory holds eight days."""
    coverage = Coverage(clock, UTC)
    for _ in range(30):
        clock.advance(86_400)
        watch(coverage, clock, 10, SightState.SEEING)
    days = [row.day for row in coverage.take()]
    assert days == [TODAY + timedelta(days=at) for at in range(23, 31)]
