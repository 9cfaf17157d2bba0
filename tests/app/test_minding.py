# SPDX-License-Identifier: AGPL-3.0-or-later
"""The minder's steps stand alone: what one cannot do, the others do all the same. With a real store."""

import shutil
import threading
from datetime import UTC, datetime
from types import SimpleNamespace

import numpy as np
import pytest

from events.errors import StoreError
from events.operations import Operations
from events.operations_reading import OperationsReader
from events.stores.sql import Store
from events.times import CHINA
from events.troubles import TroubleKind, own_trouble
from gridwatch.app import minding
from gridwatch.app.homes import Homes
from gridwatch.app.minding import Minder
from gridwatch.core.camera import Camera, CameraStatus, Fault, SightState
from gridwatch.core.clock import ManualClock
from gridwatch.core.redact import SecretUrl
from ingest.coverage import Coverage
from ingest.kept import Home
from ingest.sight import Sight

START = datetime(2026, 5, 1, 4, tzinfo=UTC)
CAMERA = Camera("gate", "南门", SecretUrl("rtsp://192.0.2.1/gate"))
HOME = Home(np.full((1, 90, 160), 7, np.uint8))


class Shard:
    """A shard of one camera that has no threads."""

    def __init__(self):
        self.state, self.fault, self.taken, self.refuses = SightState.SEEING, None, [], False
        self.lost_s = 0.0
        self.service = SimpleNamespace(
            device=SimpleNamespace(lost_for_s=lambda: self.lost_s, trouble="the device is gone")
        )

    def set_cameras(self, cameras):
        if self.refuses:
            raise RuntimeError("a mistake")
        self.taken.append(list(cameras))
        return len(cameras), 0, 0

    def cameras(self):
        return [CAMERA]

    def statuses(self):
        return [CameraStatus("gate", "南门", self.state, "", START, None, None, self.fault)]

    def keep_homes(self, homes):
        homes.save(CAMERA, HOME)


class Room:
    """A minder, and what it minds."""

    def __init__(self, folder, store):
        self.clock, self.shard, self.homes = ManualClock(START), Shard(), Homes(folder)
        self.operations = Operations(store, self.clock)
        self.reader = OperationsReader(store)
        self.wanted, self.canary = [], None
        self.minder = Minder(
            self.shard, self.operations, Coverage(self.clock, CHINA), self.homes, self.clock, self.cameras_now
        )

    def cameras_now(self):
        told = self.wanted.pop(0) if self.wanted else None
        if isinstance(told, Exception):
            raise told
        return told

    def mind(self, seconds):
        """Step as the thread does, for so long."""
        for _ in range(round(seconds / minding.STEP_S)):
            self.clock.advance(minding.STEP_S)
            self.minder.step()

    def days(self):
        return list(self.reader.days_of("gate"))

    def alerts(self):
        return list(self.reader.alerts(open_only=False).items)


@pytest.fixture
def room(tmp_path, empty_file):
    shutil.copy(empty_file, tmp_path / "store.db")
    with Store.open(f"sqlite:///{tmp_path / 'store.db'}") as store:
        yield Room(tmp_path, store)


def broken(*_):
    raise RuntimeError("a mistake in it")


def away(*_):
    raise StoreError("the store does not answer")


@pytest.mark.parametrize("trouble", [broken, away])
@pytest.mark.parametrize("step", ["_take_cameras", "_operate", "_keep_days", "_keep_homes", "canary"])
def test_a_step_that_fails_leaves_the_others(room, monkeypatch, step, trouble):
    """Whatever it is that fails, and however often: everything else is minded as before."""
    monkeypatch.setattr(minding, "DAYS_EVERY_S", 20.0)
    monkeypatch.setattr(minding, "HOMES_EVERY_S", 30.0)
    steps = SimpleNamespace(count=0)
    room.minder.canary = SimpleNamespace(step=lambda: setattr(steps, "count", steps.count + 1), troubles=list)
    if step == "canary":
        room.minder.canary.step = trouble
    else:
        monkeypatch.setattr(Minder, step, trouble)
    room.shard.state, room.shard.fault = SightState.BLIND, Fault.SILENT
    room.wanted = [None, [CAMERA]]
    room.mind(90)
    assert (room.shard.taken == [[CAMERA]]) is (step != "_take_cameras")
    assert bool(room.alerts()) is (step != "_operate")
    assert bool(room.days()) is (step not in {"_operate", "_keep_days"})
    assert (room.homes.load(CAMERA) is not None) is (step != "_keep_homes")
    assert (steps.count > 10) is (step != "canary")


def test_cameras_are_taken_once_and_again_where_that_failed(room):
    """A mistake while they were taken, or a store that was away while they were read, loses no change."""
    room.wanted = [[CAMERA]]
    room.mind(2 * minding.STEP_S)
    assert room.shard.taken == [[CAMERA]]
    room.shard.refuses, room.wanted = True, [[CAMERA, CAMERA]]
    room.mind(2 * minding.STEP_S)
    room.shard.refuses, room.wanted = False, [StoreError("away"), None]
    room.mind(3 * minding.STEP_S)
    assert room.shard.taken == [[CAMERA], [CAMERA, CAMERA]]


def test_a_lasting_fault_becomes_an_operations_alert_and_ends(room):
    """With what the camera is reached through; a short one does not."""
    room.shard.state, room.shard.fault = SightState.BLIND, Fault.SILENT
    room.mind(30)
    assert room.alerts() == []
    room.mind(60)
    (alert,) = room.alerts()
    assert [member.subject for member in alert.members] == ["gate"]
    room.shard.state, room.shard.fault = SightState.SEEING, None
    room.mind(120)
    assert room.alerts()[0].ended_at is not None


def test_a_device_that_is_lost_is_told_since_when(room):
    """And what the canary tells, beside it."""
    missed = own_trouble(TroubleKind.CANARY, "test-camera", "it did not arrive", START)
    room.minder.canary = SimpleNamespace(step=lambda: None, troubles=lambda: [missed])
    room.clock.advance(500)
    room.shard.lost_s = 400.0
    room.mind(120)
    found = {alert.kind: alert for alert in room.alerts()}
    assert found.keys() == {TroubleKind.CANARY, TroubleKind.INFERENCE}
    (member,) = found[TroubleKind.INFERENCE].members
    assert (member.since - START).total_seconds() <= 500 + minding.STEP_S - 400


def test_days_that_could_not_be_written_are_written_later(room, monkeypatch):
    """Nothing of what cameras saw is lost while the store is away, and nothing is counted twice."""
    monkeypatch.setattr(room.operations._store, "write", away)
    room.mind(600)
    assert room.days() == []
    monkeypatch.undo()
    room.mind(120)
    (day,) = room.days()
    assert 600 <= day.seeing_s <= 720


def test_days_and_homes_are_kept_when_it_stops(room):
    """It ends at once when it is told to, and what it knew is there after a restart."""
    stop = threading.Event()
    room.mind(3 * minding.STEP_S)
    assert room.days() == []
    thread = threading.Thread(target=room.minder.run, args=(stop,))
    thread.start()
    stop.set()
    thread.join(4)
    assert not thread.is_alive()
    assert room.days()[0].seeing_s == pytest.approx(2 * minding.STEP_S)
    assert np.array_equal(room.homes.load(CAMERA).views, HOME.views)


def test_a_stop_without_a_store_keeps_what_can_be_kept(room, monkeypatch):
    """Homes are files: they do not depend on it."""
    stop = threading.Event()
    room.mind(3 * minding.STEP_S)
    monkeypatch.setattr(room.operations._store, "write", away)
    stop.set()
    room.minder.run(stop)
    assert np.array_equal(room.homes.load(CAMERA).views, HOME.views)


def test_confirmed_incidents_weigh_for_thirty_days(room):
    """Counted now and then; a store that is away leaves what was counted last."""
    asked = []
    room.shard.weigh = asked.append
    room.minder.confirmed_since = lambda since: {"gate": (room.clock.now() - since).days}
    room.mind(minding.HISTORY_EVERY_S + minding.STEP_S)
    assert asked == [{"gate": 30}]
    room.minder.confirmed_since = away
    room.mind(minding.HISTORY_EVERY_S)
    assert asked == [{"gate": 30}]


class Eye:
    """The real sight of the shard's camera. A test cuts its line; while it is up a key frame comes every two seconds."""

    def __init__(self, room):
        self.room, self.sight = room, Sight("gate", "南门", room.clock)
        room.shard.statuses = lambda: [self.sight.status()]

    def run(self, seconds, *, up):
        """Let time pass second by second, with the minder's steps."""
        clock = self.room.clock
        for second in range(seconds):
            clock.advance(1)
            if not up:
                self.sight.failed("nothing answers", Fault.UNREACHABLE)
            elif second % 2:
                self.sight.decoded(clock.mono_s())
                self.sight.looked(SimpleNamespace(at_mono_s=clock.mono_s(), captured_at=clock.now()))
            self.pass_by()

    def wait(self, seconds):
        """Let time pass, and nothing happen."""
        for _ in range(seconds):
            self.room.clock.advance(1)
            self.pass_by()

    def pass_by(self):
        if round(self.room.clock.mono_s()) % round(minding.STEP_S) == 0:
            self.room.minder.step()


@pytest.fixture
def eye(room):
    return Eye(room)


def still_open(room):
    return [(alert.kind, alert.ended_at is None) for alert in room.alerts()]


@pytest.mark.parametrize(("up_s", "down_s"), [(20, 60), (5, 15), (100, 60)])
def test_a_line_that_keeps_dropping_is_told_once(room, eye, up_s, down_s):
    """However its drops fall on the steps, and though its sight counts it as seeing for ten seconds of each."""
    eye.run(60, up=True)
    for _ in range(900 // (up_s + down_s)):
        eye.run(up_s, up=True)
        eye.run(down_s, up=False)
    assert still_open(room) == [(TroubleKind.CONNECTION, True)]
    eye.run(400, up=True)
    assert still_open(room) == [(TroubleKind.CONNECTION, False)]


def test_a_line_that_drops_now_and_then_is_not_told(room, eye):
    """Twenty seconds in five minutes are no reason to send anybody."""
    eye.run(60, up=True)
    for _ in range(6):
        eye.run(280, up=True)
        eye.run(20, up=False)
    assert room.alerts() == []


def test_a_camera_that_waits_for_its_first_turn_is_no_trouble(room, eye):
    """After a start most cameras wait for minutes; one whose promised time passes is told."""
    eye.sight.takes_turns()
    eye.sight.between_visits(room.clock.mono_s() + 840)
    eye.wait(840)
    assert room.alerts() == []
    eye.wait(75)
    assert still_open(room) == [(TroubleKind.TURNS, True)]


def test_a_camera_that_failed_at_its_first_turn_is_told(room, eye):
    """It was tried: that is no waiting."""
    eye.sight.takes_turns()
    eye.sight.between_visits(room.clock.mono_s() + 840)
    eye.sight.connecting()
    eye.sight.failed("nothing answers", Fault.UNREACHABLE)
    eye.wait(75)
    assert still_open(room) == [(TroubleKind.CONNECTION, True)]
