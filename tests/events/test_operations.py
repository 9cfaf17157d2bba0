# SPDX-License-Identifier: AGPL-3.0-or-later
"""Operations alerts: what lasts is told once, a storm is one, and what is over ends; on both databases."""

from datetime import date, timedelta

import pytest

from events.errors import StoreError
from events.evidence import EvidenceStore
from events.operations import UPDATE_EVERY_S
from events.policy import KeepDays
from events.retention import Retention
from events.stores import operations as rows
from events.troubles import TroubleKind, own_trouble
from gridwatch.core.camera import Fault, Note, SightState
from gridwatch.core.coverage import CameraDay
from gridwatch.core.errors import InputError
from tests.events.operations_kit import STEP_S, City


@pytest.fixture
def city(room):
    """Three cameras behind one switch, one elsewhere, one behind a recorder."""
    hosts = {
        "c1": "10.1.2.11:554",
        "c2": "10.1.2.12:554",
        "c3": "10.1.2.12:8554",
        "far": "10.9.9.9:554",
        "rec": "nvr-3",
    }
    return City(room, hosts)


def test_only_what_lasts_is_told(city):
    """A fault of half a minute is no alert; one of a minute is, with since-when, and no incident."""
    city.break_down("c1")
    began_at = city.clock.now()
    city.run(50)
    assert city.alerts() == ()
    city.run(15)
    (alert,) = city.alerts()
    assert city.operations.open_alerts == (alert,)
    assert (alert.kind, alert.where, alert.count, alert.began_at) == (
        TroubleKind.CONNECTION,
        "10.1.2.11:554",
        1,
        began_at,
    )
    member = alert.members[0]
    assert (member.subject, member.name, member.fault, member.reason) == (
        "c1",
        "c1 号",
        "unreachable",
        "it is unreachable",
    )
    assert "没有画面" in alert.title()["zh"]
    assert city.room.reader.last_seq() == 0


def test_a_camera_that_keeps_coming_back_for_a_moment_is_told(city):
    """Its faults are added up; that it was well in between does not begin them anew."""
    for _ in range(8):
        city.break_down("c1")
        city.run(15)
        city.mend("c1")
        city.run(5)
    assert [kind for kind, _, _ in city.told()] == ["connection"]


def test_a_storm_behind_one_switch_is_one_alert_that_names_how_many(city):
    """Cameras of one /24 that fail within minutes are told together, those that follow join, and the network is named."""
    city.break_down("c1", "c2")
    city.run(70)
    assert city.told() == [("connection", "10.1.2.0/24", 2)]
    city.break_down("c3", fault=Fault.SILENT)
    city.run(60 + UPDATE_EVERY_S)
    assert city.told() == [("connection", "10.1.2.0/24", 3)]
    (alert,) = city.alerts()
    assert alert.faults() == {"unreachable": 2, "silent": 1}
    assert [one.subject for one in alert.members] == ["c1", "c2", "c3"]
    assert alert.title()["en"] == "10.1.2.0/24: no stream from 3 cameras"


def test_a_fault_that_has_stood_for_long_does_not_swallow_a_storm(city):
    """What begins ten minutes later in the same network is an alert of its own."""
    city.break_down("c1")
    city.run(600)
    city.break_down("c2", "c3")
    city.run(70)
    assert city.told() == [("connection", "10.1.2.11:554", 1), ("connection", "10.1.2.0/24", 2)]


def test_networks_and_recorders_are_told_apart(city):
    """Another network, and what is reached through a recorder, have alerts of their own."""
    city.break_down("c1", "far", "rec")
    city.run(70)
    assert sorted(city.told()) == [
        ("connection", "10.1.2.11:554", 1),
        ("connection", "10.9.9.9:554", 1),
        ("connection", "nvr-3", 1),
    ]


def test_what_fails_everywhere_is_one_alert(room):
    """Forty networks that go dark within a minute are one alert, not forty."""
    hosts = {f"c{n:03}": f"10.1.{n % 40}.{n}:554" for n in range(200)}
    city = City(room, hosts)
    for number, camera_id in enumerate(hosts):
        if number % 50 == 0:
            city.run(10)
        city.break_down(camera_id)
    city.run(120)
    assert city.told() == [("connection", "", 200)]


def test_different_faults_need_different_people(city):
    """A refused password, a covered lens and a dead network are not told together."""
    city.break_down("c1", fault=Fault.UNAUTHORIZED)
    city.break_down("c2", fault=Fault.COVERED)
    city.break_down("c3", fault=Fault.BLURRED, state=SightState.DEGRADED)
    city.run(70)
    assert sorted(city.told()) == [("access", "10.1.2.11:554", 1), ("picture", "10.1.2.0/24", 2)]


@pytest.mark.parametrize(
    ("state", "fault"),
    [
        (SightState.OFF, Fault.SWITCHED_OFF),
        (SightState.MAINTENANCE, Fault.SWITCHED_OFF),
        (SightState.DEGRADED, Fault.ELSEWHERE),
        (SightState.SEEING, None),
    ],
)
def test_what_somebody_wants_so_is_no_trouble(city, state, fault):
    """Switched off, in maintenance, or a dome on patrol: nobody is called."""
    city.break_down("c1", fault=fault, state=state)
    city.run(600)
    assert city.alerts() == ()


def test_what_was_set_aside_is_told_at_once(city):
    """A stream that crashed the decoder twice does not wait for its minute, whatever its state is called."""
    city.break_down("c1", fault=Fault.SET_ASIDE, state=SightState.OFF)
    city.run(5)
    assert city.told() == [("set_aside", "", 1)]


def test_a_wrong_clock_is_told_beside_what_the_camera_sees(city):
    """A note raises an alert though the camera sees; its offset is the reason."""
    city.break_down(
        "c1", state=SightState.SEEING, fault=None, notes=(Note.CLOCK_WRONG,), clock_offset_s=-3_600.4
    )
    city.run(70)
    assert city.told() == [("clock", "10.1.2.11:554", 1)]
    assert city.alerts()[0].members[0].reason == "-3600 s"


def test_this_machines_own_troubles_are_told_with_the_cameras_that_suffer(city):
    """A lost device and the cameras whose looks get no answer are one alert."""
    city.break_down("c1", "far", fault=Fault.UNANSWERED, state=SightState.DEGRADED)
    city.others = [own_trouble(TroubleKind.INFERENCE, "device", "CUDA error", city.clock.now())]
    city.run(90)
    assert city.told() == [("inference", "", 3)]


def test_an_alert_ends_when_its_cameras_have_been_well_for_a_while(city):
    """A member that recovers leaves, the last one ends it; the record keeps how many there were at most."""
    city.break_down("c1", "c2")
    city.run(70)
    city.mend("c1")
    city.run(60)
    assert city.told() == [("connection", "10.1.2.12:554", 1)]
    city.mend("c2")
    city.run(20)
    assert len(city.told()) == 1
    city.run(20)
    assert city.told() == []
    (alert,) = city.alerts()
    assert (alert.count, alert.most) == (0, 2)
    assert alert.ended_at == alert.updated_at > alert.opened_at
    assert alert.title()["en"] == "10.1.2.12:554: no stream from 2 cameras"
    assert city.operations.open_alerts == ()


def test_a_short_recovery_does_not_end_an_alert(city):
    """Within half a minute the same trouble goes on in the same alert."""
    city.break_down("c1")
    city.run(70)
    city.mend("c1")
    city.run(20)
    city.break_down("c1")
    city.run(100)
    assert len(city.alerts()) == 1


def test_a_place_of_any_length_is_written(room):
    """A host may be longer than the column, or hold what a database refuses: one camera does not keep every alert out."""
    city = City(room, {"c1": "nvr\x00-" + "x" * 300, "c2": "10.1.2.3:554"})
    city.break_down("c1", "c2")
    city.run(90)
    assert {one.place for one in city.alerts()} == {"nvr-" + "x" * 251, "10.1.2.0/24"}
    city.restart()
    city.mend("c1", "c2")
    city.run(90)
    assert city.told() == []


def test_a_camera_that_was_removed_is_no_trouble_any_more(city):
    """Who takes a camera out of the register ends its part in an alert."""
    city.break_down("c1")
    city.run(70)
    del city.states["c1"]
    city.run(40)
    assert city.told() == []


def test_a_restart_goes_on_with_what_was_open(city):
    """Open alerts are taken up: nothing is told twice, and a picture fault waits until its camera is seen again."""
    city.break_down("c1", "c2")
    city.break_down("far", fault=Fault.FROZEN)
    city.break_down("rec", fault=Fault.UNAUTHORIZED)
    city.run(70)
    before = {one.alert_id for one in city.alerts()}
    city.restart()
    city.break_down("far", "rec", fault=None)  # not connected yet
    city.run(50)
    city.break_down("far", fault=Fault.FROZEN)
    city.break_down("rec", fault=Fault.UNAUTHORIZED)
    city.run(120)
    assert {one.alert_id for one in city.alerts()} == before
    assert sorted(city.told()) == [
        ("access", "nvr-3", 1),
        ("connection", "10.1.2.0/24", 2),
        ("picture", "10.9.9.9:554", 1),
    ]


def test_what_the_store_does_not_take_is_written_when_it_does(city, monkeypatch):
    """An alert that opens, and one that ends, while the database is away are there afterwards, once."""
    city.break_down("far")
    city.run(70)
    city.mend("far")
    city.break_down("c1")

    def away(*_):
        raise StoreError("away")

    with monkeypatch.context() as patched:
        patched.setattr(rows, "save", away)
        for _ in range(20):
            city.clock.advance(STEP_S)
            try:
                city.operations.step(list(city.states.values()), city.hosts)
            except StoreError:
                continue
    assert city.told() == [("connection", "10.9.9.9:554", 1)]
    city.run(5)
    assert city.told() == [("connection", "10.1.2.11:554", 1)]
    assert len(city.alerts()) == 2


def test_a_growing_storm_is_not_written_at_every_step(city, monkeypatch):
    """What joins within fifteen seconds is written once."""
    written = []
    save = rows.save
    monkeypatch.setattr(
        rows, "save", lambda connection, values: (written.append(1), save(connection, values))
    )
    for camera_id in ("c1", "c2", "c3"):
        city.break_down(camera_id)
        city.run(5)
    city.run(300)
    assert len(written) == 2
    assert city.told() == [("connection", "10.1.2.0/24", 3)]


def test_a_step_of_the_wall_clock_decides_nothing(city):
    """Since-when comes from the record's clock, whether it lasts from the monotonic one."""
    city.break_down("c1", since=city.clock.now() - timedelta(days=3))
    city.run(50)
    assert city.alerts() == ()
    city.break_down("c2", since=city.clock.now() + timedelta(days=3))
    city.run(120)
    (alert,) = city.alerts()
    assert alert.began_at < alert.opened_at
    assert all(member.since <= city.clock.now() for member in alert.members)


def test_alerts_come_in_pages_and_by_kind(city):
    """Newest first, a cursor for the rest, and what is no cursor is refused."""
    for camera_id in ("c1", "far", "rec"):
        city.break_down(camera_id)
        city.run(400)
    city.mend("far")
    city.run(60)
    first = city.reader.alerts(limit=2, open_only=False)
    rest = city.reader.alerts(cursor=first.next, limit=2, open_only=False)
    assert [one.where for one in (*first.items, *rest.items)] == ["nvr-3", "10.9.9.9:554", "10.1.2.11:554"]
    assert rest.next is None
    assert [one.where for one in city.alerts(open_only=True)] == ["nvr-3", "10.1.2.11:554"]
    assert city.reader.alerts(TroubleKind.CLOCK, open_only=False).items == ()
    with pytest.raises(InputError, match="cursor"):
        city.reader.alerts(cursor="nonsense", open_only=False)


DAY = date(2026, 11, 26)


def test_a_cameras_day_is_the_sum_of_what_was_handed_over(city):
    """Seconds are added, days and cameras kept apart, and a restart loses nothing that was handed over."""
    city.operations.add_days([CameraDay(camera_id="c1", day=DAY, seeing_s=50, blind_s=10, looked_at_s=48)])
    city.restart()
    more = [
        CameraDay(camera_id="c1", day=DAY, seeing_s=20, elsewhere_s=40, looked_at_s=20),
        CameraDay(camera_id="c1", day=DAY + timedelta(days=1), maintenance_s=60),
        CameraDay(camera_id="far", day=DAY, off_s=60),
    ]
    city.operations.add_days(more)
    assert city.reader.days_of("c1") == [
        CameraDay(camera_id="c1", day=DAY + timedelta(days=1), maintenance_s=60),
        CameraDay(camera_id="c1", day=DAY, seeing_s=70, blind_s=10, elsewhere_s=40, looked_at_s=68),
    ]
    found = city.reader.of_day(DAY, ["c1", "far", "unknown"])
    assert {camera_id: day.wanted_s for camera_id, day in found.items()} == {"c1": 120, "far": 0}
    assert found["c1"].looked_at_share == pytest.approx(68 / 120)
    assert found["far"].looked_at_share is None


def test_days_wait_for_a_store_that_is_away(city, monkeypatch):
    """What was handed over while the database did not answer is added with the next call, once."""

    def away(*_):
        raise StoreError("away")

    with monkeypatch.context() as patched:
        patched.setattr(rows, "add_days", away)
        for _ in range(3):
            with pytest.raises(StoreError):
                city.operations.add_days([CameraDay(camera_id="c1", day=DAY, seeing_s=60)])
    city.operations.add_days([CameraDay(camera_id="c1", day=DAY, seeing_s=60)])
    city.operations.add_days([])
    assert city.reader.days_of("c1")[0].seeing_s == 240


def test_operations_are_kept_for_thirteen_months(city, tmp_path):
    """After 400 days ended alerts and days go; what is open, and younger, stays."""
    city.break_down("c1")
    city.break_down("far")
    city.run(70)
    city.mend("far")
    city.run(60)
    city.operations.add_days([CameraDay(camera_id="c1", day=DAY, seeing_s=60)])
    retention = Retention(city.room.store, EvidenceStore(tmp_path / "evidence"), KeepDays(), city.clock)
    city.clock.advance(399 * 86_400)
    city.operations.add_days([CameraDay(camera_id="c1", day=DAY + timedelta(days=399), seeing_s=60)])
    retention.step()
    assert (len(city.alerts()), len(city.reader.days_of("c1"))) == (2, 2)
    city.clock.advance(2 * 86_400)
    retention.step()
    assert [one.where for one in city.alerts()] == ["10.1.2.11:554"]
    assert [one.day for one in city.reader.days_of("c1")] == [DAY + timedelta(days=399)]
