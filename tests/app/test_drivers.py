# SPDX-License-Identifier: AGPL-3.0-or-later
"""The two drivers run the same steps: threads on the wall clock, lockstep on media time."""

import random
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import av
import pytest

from detectors.judge import Judge
from events.alerts import AlertFilter
from events.grids import Grids
from events.incidents import IncidentBook, Policy
from events.reading import AlertReader
from events.stores.sql import Store
from gridwatch.app import live as live_module
from gridwatch.app.live import Shard, ShardSpec
from gridwatch.app.lockstep import drive
from gridwatch.app.pipeline import CameraPipeline
from gridwatch.core.camera import Camera, SightState
from gridwatch.core.clock import ManualClock
from gridwatch.core.redact import SecretUrl
from gridwatch.core.zone import Kind, Zone
from gridwatch.simulator.scenes.city import make_demo
from ingest.backoff import Backoff
from ingest.feed import Feed
from ingest.files import FileSource
from ingest.intake import CameraIntake
from models.errors import InferenceError
from models.network import Network

START = datetime(2026, 5, 1, tzinfo=UTC)
ASSETS = Path(__file__).parents[2] / ".venv" / "scenes" / "ultralytics" / "assets"
CAMERA = Camera(
    "yard", "院落", SecretUrl("rtsp://h/yard"), (Zone("all", frozenset({Kind.FIRE, Kind.SMOKE})),)
)
BURNS_FOR_S, QUIET_S = 16, 6


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    """Encode the demo's fire from some seconds before its onset."""
    city = make_demo(3, assets=ASSETS)
    event = next(event for event in city.events if event.kind is Kind.FIRE)
    camera = next(camera for camera in city.cameras if camera.name == event.camera)
    first = int((event.onset_s - QUIET_S) * camera.fps)
    path = tmp_path_factory.mktemp("clip") / "fire.mp4"
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=camera.fps, options={"preset": "ultrafast", "g": "15"})
        stream.width, stream.height, stream.pix_fmt = camera.width, camera.height, "yuv420p"
        for index in range(first, first + (QUIET_S + BURNS_FOR_S) * camera.fps):
            frame = av.VideoFrame.from_ndarray(camera.render(index), format="bgr24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def network() -> Network:
    return Network.open(threads=2)


class NotingBook(IncidentBook):
    """The incident book, and what it was told, in order."""

    def __init__(self, store: Store, clock: ManualClock) -> None:
        places = {CAMERA.camera_id: CAMERA}
        policy = Policy(run_mode="test")
        super().__init__(store, clock, places=places, grids=Grids.none(), evidence=None, policy=policy)
        self.told: list[tuple[object, ...]] = []

    def record(self, finding, frame, persons=()):
        self.told.append(
            (finding.stage, finding.kind, finding.at_mono_s, dict(finding.facts), frame is not None)
        )
        return super().record(finding, frame, persons)


class PatientSource(FileSource):
    """A clip that waits before each packet until the shard has dealt with all before, then moves the clock."""

    def __init__(self, path: Path, clock: ManualClock) -> None:
        super().__init__(CAMERA.camera_id, path, clock)
        self._manual = clock
        self.is_idle = lambda: True
        self.finished = threading.Event()

    def packets(self):
        for packet in super().packets():
            self._wait()
            self._manual.advance_to(packet.at_mono_s)
            yield packet
        self._wait()
        self.finished.set()

    def _wait(self) -> None:
        while not self.is_idle():
            time.sleep(0.001)


def pipeline(clock: ManualClock, network: object) -> CameraPipeline:
    return CameraPipeline(CAMERA, CameraIntake(CAMERA, clock), network, Judge(CAMERA))


def run_live(clip: Path, network: object, book: NotingBook, clock: ManualClock) -> Shard:
    source = PatientSource(clip, clock)

    def make_feed(item, deliver):
        admission, backoff = threading.BoundedSemaphore(1), Backoff(random.Random(1), base_s=60)
        return Feed(item.intake, lambda: source, deliver, clock=clock, backoff=backoff, admission=admission)

    shard = Shard([pipeline(clock, network)], make_feed, book, clock, ShardSpec(1, 2))
    source.is_idle = shard.is_idle
    shard.start()
    assert source.finished.wait(50)
    shard.stop()
    return shard


def test_both_drivers_say_the_same_of_the_same_looks(clip, network, tmp_path):
    """Where the threads drop nothing, they record what the lockstep records, to the last fact."""
    told = []
    for name in ("lockstep", "live"):
        clock = ManualClock(START)
        with Store.open(f"sqlite:///{tmp_path / name}.db") as store:
            book = NotingBook(store, clock)
            if name == "lockstep":
                drive(pipeline(clock, network), FileSource(CAMERA.camera_id, clip, clock), clock, book.record)
            else:
                run_live(clip, network, book, clock)
            alerts = AlertReader(store).list(AlertFilter(), None, 10).items
        assert [alert.kind for alert in alerts] == [Kind.FIRE]
        assert (alerts[0].opened_at - START).total_seconds() > QUIET_S
        told.append(book.told)
    assert told[0] == told[1]
    assert told[0][0][4], "the picture that shows the claim comes with its opening"


class NoAnswer:
    """A network whose device is gone."""

    def detect(self, _frame, *, crowd):
        raise InferenceError(f"device lost ({crowd})")


def test_a_network_without_answers_makes_the_camera_degraded_and_raises_nothing(clip, tmp_path):
    """Unknown is never "nothing there", and never something."""
    clock = ManualClock(START)
    with Store.open(f"sqlite:///{tmp_path / 'none'}.db") as store:
        book = NotingBook(store, clock)
        shard = run_live(clip, NoAnswer(), book, clock)
    assert shard.counts.unknown == shard.counts.looks > 3
    assert book.told == []
    (status,) = shard.statuses()
    assert (status.state, status.last_look_at) == (SightState.DEGRADED, None)
    assert "device lost" in status.reason


class Broken:
    """Detectors with a mistake in them."""

    needs_crowd = False

    def update(self, _look, _answer):
        raise ZeroDivisionError

    def claims_within_s(self, _kind):
        return 0.0


def test_a_look_that_cannot_be_judged_is_unknown(clip, network, tmp_path, monkeypatch):
    """A camera whose detectors fail does not count as seeing, however well the network answers."""
    clock = ManualClock(START)
    monkeypatch.setattr(f"{__name__}.Judge", lambda _camera: Broken())
    with Store.open(f"sqlite:///{tmp_path / 'broken'}.db") as store:
        shard = run_live(clip, network, NotingBook(store, clock), clock)
    assert shard.counts.unknown == shard.counts.looks > 3
    (status,) = shard.statuses()
    assert (status.state, status.reason) == (SightState.DEGRADED, "a look could not be judged")


def test_a_stuck_worker_stops_the_heartbeat(monkeypatch):
    """Native code that never returns looks like life from outside; the parent must hear nothing."""
    beats: list[int] = []
    shard = Shard(
        [], lambda *_: None, None, ManualClock(START), ShardSpec(0, 0, beat=lambda: beats.append(1))
    )
    shard._live()
    assert beats == [1]
    monkeypatch.setattr(live_module, "STUCK_S", 0.0)
    shard.to_look.put("a", None)
    shard.to_look.take(0)
    shard._live()
    assert beats == [1]
