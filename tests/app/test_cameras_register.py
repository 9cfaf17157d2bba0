# SPDX-License-Identifier: AGPL-3.0-or-later
"""From the register to the cameras that are watched: at the start, after a change, and when one cannot be used."""

import shutil

import pytest
import structlog.testing

import events.registry
from events.registry import Registry
from events.stores.sql import Store
from gridwatch.app.cameras import load_cameras
from gridwatch.app.register import follow_configured, read_registry
from gridwatch.app.yaml_border import ConfigError
from gridwatch.core.camera import Watch
from gridwatch.core.clock import SystemClock

GATE = {"id": "gate", "name": "东门", "url": "rtsp://u:${GATE_PW}@192.0.2.1/1", "place": "market"}
YARD = {"id": "yard", "url": "rtsp://192.0.2.2/1"}
FILE = """
cameras:
  - {id: gate, name: 东门, url: 'rtsp://u:${GATE_PW}@192.0.2.1/1', place: market}
  - {id: yard, url: 'rtsp://192.0.2.2/1'}
"""


@pytest.fixture
def store(tmp_path, empty_file):
    shutil.copy(empty_file, tmp_path / "gridwatch.db")
    with Store.open(f"sqlite:///{tmp_path / 'gridwatch.db'}") as store:
        yield store


@pytest.fixture
def registry(store):
    return Registry(store, SystemClock())


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "cameras.yaml"
    path.write_text(FILE, "utf-8")
    return path


def put(registry, *documents):
    registry.put({one["id"]: one for one in documents}, "command:li")


def test_the_configured_file_becomes_the_cameras_that_are_watched(registry, file, monkeypatch):
    """The register's cameras are the file's, secrets filled in from the environment at the reading."""
    monkeypatch.setenv("GATE_PW", "s3cret")
    assert follow_configured(registry, file).added == ["gate", "yard"]
    assert list(read_registry(registry).cameras) == load_cameras(file)
    assert "s3cret" not in str([version.document for version in registry.cameras()[1]])
    assert follow_configured(registry, file).added == []
    assert registry.revision() == 2


def test_one_camera_without_its_password_is_off_and_the_others_are_watched(registry, monkeypatch):
    """It is there, with its name and the reason, and nothing connects to it."""
    monkeypatch.delenv("GATE_PW", raising=False)
    put(registry, GATE, YARD)
    found = read_registry(registry)
    gate, yard = found.cameras
    assert found.unusable == {"gate": "environment variable GATE_PW is not set"}
    assert (gate.name, gate.url.host, gate.watch, yard.watch) == ("东门", "192.0.2.1", Watch.OFF, Watch.ON)


@pytest.mark.parametrize("watch", ["off", "maintenance"])
def test_nothing_is_wrong_with_a_camera_that_is_not_to_be_watched(registry, monkeypatch, watch):
    """What it lacks is missed when somebody switches it on; until then it is as its document says."""
    monkeypatch.delenv("GATE_PW", raising=False)
    monkeypatch.setenv("GATE_PORT", "x")
    put(registry, GATE | {"watch": watch}, {"id": "pole", "url": "rtsp://h:${GATE_PORT}/1", "watch": watch})
    found = read_registry(registry)
    assert [camera.watch for camera in found.cameras] == [Watch(watch)] * 2
    assert not found.unusable
    put(registry, GATE | {"place": "school_gate"})  # nothing is enabled there
    assert not read_registry(registry).unusable


def test_a_bad_change_keeps_the_last_good_camera(registry, monkeypatch):
    """A document that cannot be used leaves what was read before in its place, and is named."""
    monkeypatch.setenv("GATE_PW", "x")
    put(registry, GATE, YARD)
    before = read_registry(registry)
    put(registry, GATE | {"place": "moon"}, YARD | {"name": "院"})
    after = read_registry(registry, before)
    assert after.cameras[0] == before.cameras[0]
    assert after.cameras[1].name == "院"
    assert list(after.unusable) == ["gate"]
    assert after.unusable["gate"].startswith("place: ")
    alone = read_registry(registry).cameras[0]
    assert (alone.name, alone.watch, alone.zones) == ("东门", Watch.OFF, ())


def test_a_value_of_the_environment_that_makes_no_url_is_told_without_it(registry, monkeypatch):
    """What is wrong with an address may be a password."""
    monkeypatch.setenv("GATE_PW", "x")
    put(registry, {"id": "pole", "url": "rtsp://192.0.2.3:${GATE_PORT}/1"})
    monkeypatch.setenv("GATE_PORT", "S3cret")
    problem = read_registry(registry).unusable["pole"]
    assert "no usable URL" in problem
    assert "S3cret" not in problem


def test_a_file_with_too_many_cameras_changes_nothing(registry, file, monkeypatch):
    """It is a file that cannot be used, like one with mistakes."""
    monkeypatch.setattr(events.registry, "MOST_CAMERAS", 2)
    put(registry, {"id": "pole", "url": "rtsp://192.0.2.3/1"})
    with structlog.testing.capture_logs() as logs:
        follow_configured(registry, file)
    assert [entry["event"] for entry in logs] == ["cameras_not_read"]
    assert [camera.camera_id for camera in read_registry(registry).cameras] == ["pole"]


def test_a_file_that_cannot_be_used_stops_a_first_start_and_no_other(registry, file):
    """With nothing to go on with it is an error; a register that has cameras goes on with them."""
    file.write_text("cameras:\n  - {id: a, url: 'http://h/1'}\n", "utf-8")
    with pytest.raises(ConfigError, match="must begin with rtsp://"):
        follow_configured(registry, file)
    put(registry, YARD)
    with structlog.testing.capture_logs() as logs:
        assert follow_configured(registry, file).removed == []
    assert [entry["event"] for entry in logs] == ["cameras_not_read"]
    file.unlink()
    with structlog.testing.capture_logs() as logs:
        follow_configured(registry, file)
    assert [camera.camera_id for camera in read_registry(registry).cameras] == ["yard"]


def test_a_camera_that_the_network_cannot_serve_is_off_although_its_last_document_was_good(registry):
    """What it is to look for is known, and going on without it would look like watching for it."""
    put(registry, YARD)
    before = read_registry(registry)
    put(registry, YARD | {"place": "road"})
    after = read_registry(registry, before, lambda camera: f"no {camera.place}s here")
    assert [(camera.watch, camera.place) for camera in after.cameras] == [(Watch.OFF, "road")]
    assert after.unusable == {"yard": "no roads here"}
