# SPDX-License-Identifier: AGPL-3.0-or-later
"""Cameras are added, changed and removed while others are watched, and those notice nothing."""

import threading
import time
from dataclasses import replace

import pytest
import yaml

from events.alerts import Activity
from events.operations import Operations
from events.registry import Registry
from events.times import CHINA
from events.troubles import troubles_of
from gridwatch.app import minding
from gridwatch.app.cameras_command import import_cameras
from gridwatch.app.homes import Homes
from gridwatch.app.minding import Minder
from gridwatch.app.roll import Roll
from gridwatch.core.camera import SightState, Watch
from ingest.coverage import Coverage
from tests.app.watching import Street, clip, until, watching

SEEING = SightState.SEEING


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    return {"plain": clip(folder / "plain.mp4"), "marked": clip(folder / "marked.mp4", marked=True)}


@pytest.fixture
def street(clips):
    with Street(dict.fromkeys("abc", clips["plain"]) | {"fire": clips["marked"]}) as street:
        yield street


def test_cameras_come_change_and_go_while_others_keep_their_session(street, tmp_path):
    """Each is opened once and no more; who is gone is disconnected, and not among those that are told of."""
    a, b, c = (street.camera(name) for name in "abc")
    with watching(tmp_path, [a, b]) as machine:
        shard = machine.shard
        until(lambda: all(machine.state(name) is SEEING for name in "ab"))
        assert shard.set_cameras([a, b, c]) == (1, 0, 0)
        until(lambda: machine.state("c") is SEEING)
        old = shard.find("b")
        assert shard.set_cameras([a, replace(b, name="B"), c]) == (0, 1, 0)
        assert shard.find("b") is not old
        assert machine.state("b") is SightState.BLIND, "another camera, of which nothing was seen yet"
        until(lambda: machine.state("b") is SEEING)
        assert shard.set_cameras([a, replace(b, name="B")]) == (0, 0, 1)
        until(lambda: street.viewers() == {"a": 1, "b": 1, "c": 0, "fire": 0})
        assert [status.camera_id for status in shard.statuses()] == ["a", "b"]
        assert (machine.feed("a").opened, machine.feed("a").failures) == (1, 0)
        assert shard.set_cameras([a, replace(b, name="B")]) == (0, 0, 0)
        assert old.feed.join(5)


def test_a_camera_that_comes_back_is_watched_anew(street, tmp_path):
    """With the same id, and with another address: nothing of the one before is taken for its own."""
    a, b = street.camera("a"), street.camera("b")
    with watching(tmp_path, [a, b]) as machine:
        until(lambda: machine.state("a") is SEEING)
        machine.shard.set_cameras([b])
        assert machine.shard.find("a") is None
        machine.shard.set_cameras([replace(a, url=street.url("nowhere")), b])
        until(lambda: machine.feed("a").failures > 0)
        assert machine.state("a") is SightState.BLIND
        machine.shard.set_cameras([a, b])
        until(lambda: machine.state("a") is SEEING)
        assert machine.feed("b").opened == 1


def test_cameras_that_are_off_are_not_connected_until_somebody_switches_them_on(street, tmp_path):
    """And one that is switched off while it is watched is left at once."""
    off, maintained = street.camera("a", watch=Watch.OFF), street.camera("b", watch=Watch.MAINTENANCE)
    c = street.camera("c")
    with watching(tmp_path, [off, maintained, c]) as machine:
        until(lambda: machine.state("c") is SEEING)
        assert [machine.state(name) for name in "ab"] == [SightState.OFF, SightState.MAINTENANCE]
        assert street.viewers() == {"a": 0, "b": 0, "c": 1, "fire": 0}
        machine.shard.set_cameras([replace(off, watch=Watch.ON), maintained, replace(c, watch=Watch.OFF)])
        until(lambda: machine.state("a") is SEEING)
        until(lambda: street.viewers() == {"a": 1, "b": 0, "c": 0, "fire": 0})
        assert machine.state("c") is SightState.OFF
        assert machine.feed("b").opened == 0


def test_what_is_in_the_network_of_a_camera_that_was_changed_is_nobodys(street, tmp_path):
    """Its answer comes when another camera has its id: that one has not looked yet, and claims nothing."""
    fire = street.camera("fire")
    with watching(tmp_path, [fire]) as machine:
        until(lambda: machine.state("fire") is SEEING)
        machine.network.hold.clear()
        until(lambda: machine.network.inside == 1)
        machine.shard.set_cameras([replace(fire, url=street.url("nowhere"))])
        looks = machine.shard.counts.looks
        machine.network.hold.set()
        until(lambda: machine.shard.counts.looks > looks)
        until(machine.shard.is_idle)
        (status,) = machine.shard.statuses()
        assert status.last_look_at is None
        assert status.state is SightState.BLIND


def test_what_is_still_decoded_of_a_camera_that_was_changed_is_nobodys(street, tmp_path):
    """The picture that a decoder had in hand is not the first picture of the camera that has the id now."""
    a = street.camera("a")
    with watching(tmp_path, [a]) as machine:
        until(lambda: machine.state("a") is SEEING)
        old, entered, go_on = machine.shard.find("a"), threading.Event(), threading.Event()
        pictures = old.pipeline.intake.pictures

        def slow(decoder, packet):
            entered.set()
            assert go_on.wait(20)
            yield from pictures(decoder, packet)

        old.pipeline.intake.pictures = slow
        assert entered.wait(20)
        machine.shard.set_cameras([replace(a, url=street.url("nowhere"))])
        decoded = machine.shard.counts.decoded
        go_on.set()
        until(machine.shard.to_decode.is_idle)
        assert machine.shard.counts.decoded == decoded
        assert machine.shard.picture("a") is None
        assert machine.state("a") is SightState.BLIND


def test_an_incident_of_a_camera_that_is_removed_is_not_seen_any_more(street, tmp_path):
    """Nobody knows whether it goes on; it is not ended, because nothing was seen that says so."""
    fire = street.camera("fire")
    with watching(tmp_path, [fire, street.camera("a")]) as machine:
        machine.network.burning = True
        until(lambda: [one.activity for one in machine.alerts()] == [Activity.ONGOING])
        machine.shard.set_cameras([street.camera("a")])
        until(lambda: machine.alerts()[0].activity is Activity.UNSEEN)
        time.sleep(1.5)  # a tick: it looks after cameras, and after this one no more
        assert machine.alerts()[0].activity is Activity.UNSEEN


def test_nothing_is_started_once_the_shard_stops(street, tmp_path):
    """A change that comes while it stops, or after, connects to nobody."""
    a, b = street.camera("a"), street.camera("b")
    with watching(tmp_path, [a]) as machine:
        until(lambda: machine.state("a") is SEEING)
        stopping = threading.Thread(target=machine.shard.stop)
        stopping.start()
        while stopping.is_alive():
            machine.shard.set_cameras([a, b])
            machine.shard.set_cameras([a])
            time.sleep(0.01)
        machine.shard.set_cameras([replace(a, name="A"), b])
        until(lambda: sum(street.viewers().values()) == 0)
        time.sleep(0.5)
        assert sum(street.viewers().values()) == 0


class Configured:
    """A configuration in a folder, the register beside it, and the minder that follows both."""

    def __init__(self, folder, machine, unserved=lambda _camera: ""):
        self.file, self.config = folder / "cameras.yaml", folder / "gridwatch.yaml"
        self.config.write_text("{}\n")
        self.roll = Roll(Registry(machine.store, machine.clock), self.file, folder / "run", unserved)
        self.minder = Minder(
            shard=machine.shard,
            operations=Operations(machine.store, machine.clock),
            coverage=Coverage(machine.clock, CHINA),
            homes=Homes(folder / "run"),
            clock=machine.clock,
            cameras_now=self.roll.changed,
        )

    def write(self, street, *names):
        document = {
            "cameras": [{"id": name, "url": street.url(name).reveal(), "kinds": ["fire"]} for name in names]
        }
        self.file.write_text(yaml.safe_dump(document))


def test_a_file_that_is_written_anew_is_followed_and_a_bad_one_changes_nothing(street, tmp_path):
    """What cannot be read leaves the cameras that are watched as they are."""
    state = tmp_path / "run"
    state.mkdir()
    with watching(state, []) as machine:
        configured = Configured(tmp_path, machine)
        configured.write(street, "a")
        machine.shard.set_cameras(configured.roll.read())
        until(lambda: machine.state("a") is SEEING)
        configured.write(street, "a", "b")
        configured.minder.step()
        until(lambda: machine.state("b") is SEEING)
        for bad in ("cameras: [", "cameras: [{id: a}]\n", "cameras: [{id: a, url: 'http://h/'}]\n"):
            configured.file.write_text(bad)
            configured.minder.step()
            assert [one.camera_id for one in machine.shard.cameras()] == ["a", "b"]
        configured.file.unlink()
        configured.minder.step()
        assert [one.camera_id for one in machine.shard.cameras()] == ["a", "b"]
        configured.write(street, "b")
        configured.minder.step()
        assert [one.camera_id for one in machine.shard.cameras()] == ["b"]
        assert machine.feed("b").opened == 1


def test_a_camera_that_the_network_cannot_serve_is_off_with_the_reason_and_no_other_notices(street, tmp_path):
    """It came in while gridwatch runs; it is a trouble for an operations alert, like every camera that cannot be used."""
    state = tmp_path / "run"
    state.mkdir()
    rolls = []
    with watching(state, [], unusable=lambda: rolls[0].unusable) as machine:
        configured = Configured(
            tmp_path, machine, lambda camera: "the network does not tell fire" * (camera.camera_id == "b")
        )
        rolls.append(configured.roll)
        configured.write(street, "a")
        machine.shard.set_cameras(configured.roll.read())
        until(lambda: machine.state("a") is SEEING)
        configured.write(street, "a", "b")
        configured.minder.step()
        statuses = machine.shard.statuses()
        assert [(one.camera_id, one.state) for one in statuses] == [("a", SEEING), ("b", SightState.OFF)]
        (trouble,) = troubles_of(statuses, {}, machine.clock.now())
        assert (trouble.subject, trouble.reason) == ("b", "the network does not tell fire")
        assert machine.feed("a").opened == 1
        assert machine.feed("b").opened == 0


def test_an_import_by_command_is_taken_within_seconds_while_gridwatch_runs(
    street, tmp_path, capsys, monkeypatch
):
    """Through the minder's own thread; what is imported stays although the configured file does not name it."""
    assert minding.STEP_S <= 5
    monkeypatch.setattr(minding, "STEP_S", 0.3)
    state = tmp_path / "run"
    state.mkdir()
    with watching(state, []) as machine:
        configured = Configured(tmp_path, machine)
        configured.config.write_text(f"store: sqlite:///{state / 'store.db'}\n")
        configured.write(street, "a")
        machine.shard.set_cameras(configured.roll.read())
        until(lambda: machine.state("a") is SEEING)
        stop = threading.Event()
        thread = threading.Thread(target=configured.minder.run, args=(stop,))
        thread.start()
        try:
            file = tmp_path / "more.csv"
            file.write_text(f"编码,名称,地址,识别\nb,东门,{street.url('b').reveal()},火\n", encoding="utf-8")
            assert import_cameras(configured.config, file, dry_run=False, replace=False) == 0
            until(lambda: machine.shard.find("b") is not None, within_s=15)
            until(lambda: machine.state("b") is SEEING)
        finally:
            stop.set()
            thread.join(10)
        assert not thread.is_alive()
        assert machine.feed("a").opened == 1
        assert [one.name for one in machine.shard.cameras()] == ["a", "东门"]
    capsys.readouterr()
