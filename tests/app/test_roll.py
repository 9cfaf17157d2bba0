# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which cameras are to be watched: the register's, after the file, less those set aside; in a real store."""

import shutil
from datetime import UTC, datetime

import pytest
import yaml

from events.errors import StoreError
from events.registry import Registry
from events.stores.sql import Store
from gridwatch.app import set_aside
from gridwatch.app.canary import canary_camera
from gridwatch.app.roll import Roll
from gridwatch.core.camera import Watch
from gridwatch.core.clock import ManualClock
from gridwatch.core.errors import InputError
from gridwatch.core.redact import SecretUrl
from gridwatch.core.zone import Kind

NOW = datetime(2026, 5, 1, tzinfo=UTC)


class Away:
    """A register whose store does not answer for a while."""

    def __init__(self, registry):
        self._registry, self.away = registry, False

    def __getattr__(self, name):
        if self.away:
            raise StoreError("the store is away")
        return getattr(self._registry, name)


@pytest.fixture
def store(tmp_path, empty_file):
    shutil.copy(empty_file, tmp_path / "store.db")
    with Store.open(f"sqlite:///{tmp_path / 'store.db'}") as store:
        yield store


@pytest.fixture
def registry(store):
    return Away(Registry(store, ManualClock(NOW)))


@pytest.fixture
def write(tmp_path):
    """Return a function that writes cameras.yaml anew, as an editor does: another file in its place."""

    def put(*ids, **fields):
        document = {"cameras": [{"id": one, "url": f"rtsp://192.0.2.1/{one}", **fields} for one in ids]}
        fresh = tmp_path / "cameras.new"
        fresh.write_text(yaml.safe_dump(document))
        fresh.replace(tmp_path / "cameras.yaml")

    return put


@pytest.fixture
def roll(registry, tmp_path):
    return Roll(registry, tmp_path / "cameras.yaml", tmp_path, lambda _camera: "")


def ids(cameras):
    return [camera.camera_id for camera in cameras]


def test_at_the_start_it_is_the_file_and_afterwards_what_changed(roll, write):
    """Nothing is told while nothing changes."""
    write("a", "b")
    assert ids(roll.read()) == ["a", "b"]
    assert roll.changed() is None
    write("a", "b", "c")
    assert ids(roll.changed()) == ["a", "b", "c"]
    assert roll.changed() is None
    write("c")
    assert ids(roll.changed()) == ["c"]


def test_a_command_changes_the_register_and_the_file_does_not_undo_it(roll, registry, write):
    """What a person imported stays until the file itself says something else."""
    write("a")
    roll.read()
    registry.put({"x": {"id": "x", "url": "rtsp://192.0.2.9/x"}}, "somebody")
    assert ids(roll.changed()) == ["a", "x"]
    write("a", "b")
    assert ids(roll.changed()) == ["a", "b", "x"]


def test_a_file_that_was_written_while_the_store_was_away_is_taken_when_it_is_back(roll, registry, write):
    """The change is not forgotten because nobody could write it down."""
    write("a")
    roll.read()
    write("a", "b")
    registry.away = True
    for _ in range(2):
        with pytest.raises(StoreError):
            roll.changed()
    assert ids(roll.cameras) == ["a"]
    registry.away = False
    assert ids(roll.changed()) == ["a", "b"]


def test_a_store_that_is_away_while_nothing_changes_is_told_and_costs_nothing(roll, registry, write):
    """The cameras that are watched stay as they are, and nothing is made of what comes after it."""
    write("a")
    roll.read()
    registry.away = True
    with pytest.raises(StoreError):
        roll.changed()
    registry.away = False
    assert roll.changed() is None


def test_a_bad_file_keeps_the_last_good_cameras(roll, write, tmp_path):
    """Also one that disappears; it is taken again when it is good."""
    write("a")
    roll.read()
    for bad in ("cameras: [", "cameras: 3\n", "cameras: [{id: a}]\n"):
        (tmp_path / "cameras.yaml").write_text(bad)
        assert roll.changed() is None
    (tmp_path / "cameras.yaml").unlink()
    assert roll.changed() is None
    assert ids(roll.cameras) == ["a"]
    write("a", "b")
    assert ids(roll.changed()) == ["a", "b"]


def test_a_first_file_that_cannot_be_used_is_refused(roll, tmp_path):
    """There is nothing good to go on with."""
    with pytest.raises(InputError):
        roll.read()
    (tmp_path / "cameras.yaml").write_text("cameras: [")
    with pytest.raises(InputError):
        roll.read()


def test_a_camera_that_the_network_does_not_serve_is_off_and_the_others_are_watched(
    registry, write, tmp_path
):
    """At the start and afterwards; it is named with the reason, and watched once it asks for something else."""

    def unserved(camera):
        traffic = any(Kind.TRAFFIC in zone.kinds for zone in camera.zones)
        return "the network does not tell traffic" if traffic else ""

    write("a", "lane", place="road")
    registry.put({"b": {"id": "b", "url": "rtsp://192.0.2.1/b"}}, "somebody")
    roll = Roll(registry, tmp_path / "cameras.yaml", tmp_path, unserved)
    assert [camera.watch for camera in roll.read()] == [Watch.OFF, Watch.ON, Watch.OFF]
    assert roll.unusable == dict.fromkeys(["a", "lane"], "the network does not tell traffic")
    write("a", "lane")
    assert [camera.watch for camera in roll.changed()] == [Watch.ON] * 3
    assert not roll.unusable
    registry.put({"lane": {"id": "lane", "url": "rtsp://192.0.2.1/lane", "place": "road"}}, "somebody")
    registry.put({"c": {"id": "c", "url": "rtsp://192.0.2.1/c"}}, "somebody")
    assert [(one.camera_id, one.watch) for one in roll.changed()] == [
        ("a", Watch.ON),
        ("b", Watch.ON),
        ("c", Watch.ON),
        ("lane", Watch.OFF),
    ]
    assert list(roll.unusable) == ["lane"]


def test_a_camera_that_is_not_to_be_watched_may_ask_for_anything(registry, write, tmp_path):
    """What the network cannot serve is missed when somebody switches it on."""
    roll = Roll(registry, tmp_path / "cameras.yaml", tmp_path, lambda _camera: "not served")
    write("a", watch="maintenance")
    assert [camera.watch for camera in roll.read()] == [Watch.MAINTENANCE]
    assert not roll.unusable


def test_a_test_camera_that_the_network_does_not_serve_is_refused_at_the_start(registry, write, tmp_path):
    """No exercise of it would ever arrive: that is a mistake of the configuration, not of a camera."""
    canary = canary_camera(SecretUrl("rtsp://127.0.0.1:1/canary"))
    roll = Roll(registry, tmp_path / "cameras.yaml", tmp_path, lambda _camera: "not served", [canary])
    write("a")
    with pytest.raises(InputError, match=f"camera {canary.camera_id}: not served"):
        roll.read()


def test_a_camera_that_is_set_aside_is_off_until_a_person_resumes_it(roll, write, tmp_path):
    """It stays in the list, and why is told beside it."""
    write("a", "b")
    roll.read()
    for _ in range(2):
        set_aside.note_crash(tmp_path, ["b"], NOW, "SIGSEGV")
    assert [camera.watch for camera in roll.changed()] == [Watch.ON, Watch.OFF]
    assert "crashed" in roll.aside["b"].reason
    assert roll.changed() is None
    set_aside.resume(tmp_path, "b")
    assert [camera.watch for camera in roll.changed()] == [Watch.ON, Watch.ON]


def test_a_document_that_cannot_be_used_any_more_is_named_and_its_camera_stays_as_it_was(
    roll, registry, write
):
    """Another version of gridwatch may have written it: one that was good goes on, one that never was is off."""
    write("a")
    roll.read()
    registry.put({"a": {"id": "a", "url": 3}, "b": {"id": "b", "url": 3}}, "somebody")
    a, b = roll.changed()
    assert a.watch is Watch.ON
    assert a.looked_at == SecretUrl("rtsp://192.0.2.1/a")
    assert b.watch is Watch.OFF
    assert roll.unusable.keys() == {"a", "b"}
    assert roll.changed() is None


def test_the_test_camera_stands_beside_the_registers(registry, write, tmp_path):
    """It is no camera of the register, and stays whatever happens there."""
    canary = canary_camera(SecretUrl("rtsp://127.0.0.1:1/canary"))
    roll = Roll(registry, tmp_path / "cameras.yaml", tmp_path, lambda _camera: "", [canary])
    write("a")
    assert roll.read()[-1] is canary
    write("b")
    assert ids(roll.changed()) == ["b", canary.camera_id]
