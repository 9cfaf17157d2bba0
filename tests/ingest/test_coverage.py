# SPDX-License-Identifier: AGPL-3.0-or-later
"""The count of how long cameras saw."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone

import pytest

from gridwatch.core.camera import CameraStatus, Fault, SightState
from gridwatch.core.clock import ManualClock
from gridwatch.core.coverage import CameraDay
from ingest.coverage import Coverage

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


def test_what_was_handed_over_already_is_not_taken_back(coverage, clock):
    """Rows are added up in the store, so that none may be less than nothing."""
    watch(coverage, clock, 60, SightState.SEEING)
    coverage.take()
    clock.advance(5)
    coverage.step([status(clock, SightState.BLIND, lasting_s=30)])
    assert coverage.take() == [CameraDay(camera_id="cam", day=TODAY, blind_s=5)]


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
