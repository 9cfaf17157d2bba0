# SPDX-License-Identifier: AGPL-3.0-or-later
"""A camera that was moved keeps its zones suspended until a person accepts the view, and a restart undoes neither."""

import threading
from dataclasses import replace
from datetime import UTC, datetime
from fractions import Fraction
from types import SimpleNamespace

import av
import pytest

from gridwatch.app.camera_wiring import CameraWiring
from gridwatch.app.homes import Homes
from gridwatch.app.live import Shard
from gridwatch.app.settings import IngestSettings
from gridwatch.app.shard_spec import ShardSpec
from gridwatch.core.camera import Camera, Fault, SightState
from gridwatch.core.clock import ManualClock
from gridwatch.core.detections import Detections
from gridwatch.core.redact import SecretUrl
from gridwatch.core.zone import Kind, Zone
from ingest.frame import DecodedFrame
from ingest.packets import Packet, StreamInfo
from models.service.device import Device
from models.service.inference import InferenceService, ServiceSettings
from tests.ingest import street as scene

YARD = Zone("yard", frozenset({Kind.FIRE}), ((0.1, 0.1), (0.9, 0.1), (0.9, 0.9)))
CAMERA = Camera("gate", "南门", SecretUrl("rtsp://127.0.0.1/gate"), (YARD,))
INFO = StreamInfo("h264", 320, 180, b"", Fraction(1, 90_000), 25.0)
TURNED = scene.shifted(60, 10)


class Nothing:
    """A network that finds nothing."""

    plan = None
    parts = frozenset()

    def detect(self, frame, *, parts):
        return Detections.none()


class Machine:
    """A shard of one camera whose pictures are shown to it without a network and without threads."""

    def __init__(self, state) -> None:
        self.clock = ManualClock(datetime(2026, 5, 1, tzinfo=UTC))
        device = Device(Nothing(), self.clock)
        service = InferenceService(device, self.clock, ServiceSettings(threads=1))
        book = SimpleNamespace(refused_evidence=0, camera_lost=lambda *_: 0, settle=lambda *_: 0)
        self.homes = Homes(state)
        wiring = CameraWiring(IngestSettings(), device, self.clock, homes=self.homes)
        self.shard = Shard(wiring.wire, service, book, self.clock, ShardSpec(0))
        self.shard.set_cameras([CAMERA])
        self.scene = scene.Camera(None)

    def show(self, seconds, change=None) -> None:
        """Let the camera send a key frame every two seconds."""
        intake = self.shard.find(CAMERA.camera_id).pipeline.intake
        for _ in range(seconds // 2):
            self.clock.advance(2)
            packet = Packet(
                CAMERA.camera_id, b"", None, None, True, self.clock.mono_s(), self.clock.now(), 1, INFO
            )
            intake.see(packet, DecodedFrame(av.VideoFrame.from_ndarray(self.scene.grab(change), "gray")))
            intake.sight.looked(SimpleNamespace(at_mono_s=packet.at_mono_s, captured_at=packet.captured_at))

    @property
    def told(self):
        status = self.shard.statuses()[0]
        return status.fault, status.zones_suspended


@pytest.fixture
def moved(tmp_path) -> Machine:
    """A machine that kept a camera's home view before the camera was turned."""
    machine = Machine(tmp_path)
    machine.show(60)
    machine.shard.keep_homes(machine.homes)
    machine.show(60, TURNED)
    assert machine.told == (Fault.MOVED, True)
    return machine


def test_an_accepted_view_ends_the_suspension_and_outlasts_a_restart(moved, tmp_path) -> None:
    """Zones are watched again, the new view is kept once it was learned, and it is what a restart begins with."""
    assert moved.shard.accept_view("gate")
    moved.show(60, TURNED)
    assert moved.told == (None, False)
    assert moved.shard.statuses()[0].state is SightState.SEEING
    moved.shard.keep_homes(moved.homes)
    again = Machine(tmp_path)
    again.show(60, TURNED)
    assert again.told == (None, False)
    again.show(60)
    assert again.told == (Fault.MOVED, True)


def test_nobody_accepts_nobodys_view(moved) -> None:
    """A camera that is not watched has none, and the others stay as they are."""
    assert not moved.shard.accept_view("nobody")
    moved.show(20, TURNED)
    assert moved.told == (Fault.MOVED, True)


def test_a_move_that_nobody_accepted_outlasts_a_restart(moved, tmp_path) -> None:
    """The view that was kept is the one that zones were drawn on, however long the camera showed another."""
    moved.shard.keep_homes(moved.homes)
    again = Machine(tmp_path)
    again.show(60, TURNED)
    assert again.told == (Fault.MOVED, True)


def test_a_crash_after_accepting_brings_no_old_view_back(moved, tmp_path) -> None:
    """The kept view goes at once; nothing is kept again before the new one was learned."""
    moved.shard.accept_view("gate")
    moved.shard.keep_homes(moved.homes)  # no picture came meanwhile
    crashed = Machine(tmp_path)
    crashed.show(60, TURNED)
    assert crashed.told == (None, False)


def test_a_view_that_was_read_before_it_was_forgotten_does_not_stay(moved) -> None:
    """Who keeps views and who accepts one are two threads: what is being kept meanwhile is forgotten after it."""
    forgetting = threading.Thread(target=moved.homes.forget, args=(CAMERA,))
    home = moved.shard.find("gate").health.home

    def read():
        view = home()
        forgetting.start()
        forgetting.join(0.2)
        return view

    moved.homes.keep(CAMERA, read)
    forgetting.join()
    assert moved.homes.load(CAMERA) is None


def test_what_is_wrong_with_a_picture_outlasts_a_change_of_the_camera_and_a_restart(tmp_path) -> None:
    """Another name makes no blurred camera a well one, though nothing had been kept yet; nor does a restart after it."""
    machine = Machine(tmp_path)
    machine.show(60)
    machine.show(60, scene.blurred(1.2))
    assert machine.told == (Fault.BLURRED, False)
    machine.shard.set_cameras([replace(CAMERA, name="东门")])
    machine.show(40, scene.blurred(1.2))
    assert machine.told == (Fault.BLURRED, False)
    machine.shard.keep_homes(machine.homes)
    again = Machine(tmp_path)
    again.show(40, scene.blurred(1.2))
    assert again.told == (Fault.BLURRED, False)
    again.show(20)
    assert again.told == (None, False)


def test_another_address_begins_anew(tmp_path) -> None:
    """What was usual for the old camera says nothing of the one that stands there now."""
    machine = Machine(tmp_path)
    machine.show(60)
    machine.shard.set_cameras([replace(CAMERA, url=SecretUrl("rtsp://127.0.0.1/other"))])
    machine.show(80, lambda luma: scene.blurred(1.2)(TURNED(luma)))
    assert machine.told == (None, False)
