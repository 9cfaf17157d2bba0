# SPDX-License-Identifier: AGPL-3.0-or-later
"""Troubles that come and go, that nobody can see for a while, and that a restart finds: what their alerts become."""

import pytest

from events.operations import UPDATE_EVERY_S
from events.troubles import TroubleKind
from gridwatch.core.camera import Fault
from tests.events.operations_kit import City


@pytest.fixture
def city(room):
    """Three cameras behind one switch, and one elsewhere."""
    hosts = {"c1": "10.1.2.11:554", "c2": "10.1.2.12:554", "c3": "10.1.2.12:8554", "far": "10.9.9.9:554"}
    return City(room, hosts)


def test_a_line_that_drops_for_longer_than_a_minute_is_told_anew_at_once_and_then_stays(city):
    """After the first drop its alert ends; the second within five minutes is told at once, and from then on it is one."""
    for _ in range(8):
        city.break_down("c1")
        city.run(110)
        city.mend("c1")
        city.run(40)
    assert [one.ended_at is None for one in city.alerts()] == [True, False]
    open_alert, ended = city.alerts()
    assert open_alert.began_at > ended.ended_at
    city.run(400)
    assert city.told() == []
    assert len(city.alerts()) == 2


def test_what_came_and_went_an_hour_ago_does_not_count(city):
    """Half a minute of a fault, again and again, but never a minute within five."""
    for _ in range(10):
        city.break_down("c1")
        city.run(30)
        city.mend("c1")
        city.run(600)
    assert city.alerts() == ()


def test_a_pause_between_two_steps_is_not_taken_for_a_fault(city):
    """The database held the minder up for a minute: what it sees then has not stood for so long."""
    city.run(10)
    city.clock.advance(60)
    city.break_down("c1")
    city.run(40)
    assert city.alerts() == ()
    city.run(30)
    assert len(city.told()) == 1


@pytest.mark.parametrize("away", [Fault.UNREACHABLE, Fault.UNAUTHORIZED, Fault.DAMAGED, Fault.NOT_VISITED])
def test_a_covered_lens_that_loses_its_connection_stays_told(city, away):
    """However long: nobody knows what the picture is like. It is over when it was seen to be well for a minute."""
    city.break_down("far", fault=Fault.COVERED)
    city.run(70)
    (told,) = city.alerts()
    city.break_down("far", fault=away)
    city.run(1_800)
    assert [one.ended_at for one in city.alerts() if one.kind is TroubleKind.PICTURE] == [None]
    city.mend("far")  # it takes a while until it is certain again that something covers the lens
    city.run(40)
    city.break_down("far", fault=Fault.COVERED)
    city.run(200)
    assert [(one.alert_id, one.ended_at) for one in city.alerts() if one.kind is TroubleKind.PICTURE] == [
        (told.alert_id, None)
    ]
    city.mend("far")
    city.run(400)
    assert city.told() == []


def test_a_picture_that_is_well_after_an_outage_is_over(city):
    """The cover is gone when the camera is back."""
    city.break_down("far", fault=Fault.COVERED)
    city.run(70)
    city.break_down("far")
    city.run(600)
    city.mend("far")
    city.run(55)
    assert [kind for kind, _, _ in city.told()] == ["picture"]
    city.run(10)
    assert city.told() == []


def test_after_a_restart_an_old_alert_takes_no_new_fault(room):
    """A blackout of last week, still open, is no reason for what breaks today."""
    hosts = {f"c{n}": f"10.1.{n}.1:554" for n in range(7)}
    city = City(room, hosts)
    city.break_down(*[f"c{n}" for n in range(6)])
    city.run(70)
    assert city.told() == [("connection", "", 6)]
    for _ in range(2):
        city.clock.advance(7 * 86_400)
        city.restart()
        city.run(10)
    city.break_down("c6")
    city.run(70)
    assert city.told() == [("connection", "", 6), ("connection", "10.1.6.1:554", 1)]


def test_after_a_restart_a_storm_goes_on_in_its_alert(city):
    """What began with it and was not told yet joins it."""
    city.break_down("c1", "c2")
    city.run(50)
    city.break_down("c3")
    city.run(20)
    city.restart()
    city.run(60 + 2 * UPDATE_EVERY_S)
    assert city.told() == [("connection", "10.1.2.0/24", 3)]


def test_a_camera_that_waits_for_its_first_turn_keeps_its_alerts(city):
    """After a restart it may take a quarter of an hour until anybody knows whether it is still away, or covered."""
    city.break_down("c1")
    city.break_down("far", fault=Fault.COVERED)
    city.run(70)
    before = {one.alert_id for one in city.alerts()}
    city.restart()
    city.break_down("c1", "far", fault=Fault.NOT_VISITED, waits=True)
    city.run(840)
    assert {one.alert_id for one in city.alerts() if one.ended_at is None} == before
    city.break_down("c1")
    city.mend("far")
    city.run(120)
    assert city.told() == [("connection", "10.1.2.11:554", 1)]
    assert len(city.alerts()) == 2
