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
from gridwatch.app.live import Shard
from gridwatch.app.lockstep import drive
from gridwatch.app.pipeline import CameraPipeline
from gridwatch.app.shard_spec import ShardSpec
from gridwatch.app.watched import Watched
from gridwatch.core.camera import Camera, SightState
from gridwatch.core.clock import ManualClock
from gridwatch.core.detections import Part
from gridwatch.core.finding import Finding, Stage
from gridwatch.core.redact import SecretUrl
from gridwatch.core.zone import Kind, Zone
from gridwatch.simulator.scenes.city import make_demo
from ingest.admission import Admission
from ingest.backoff import Backoff
from ingest.feed import Feed
from ingest.files import FileSource
from ingest.intake import CameraIntake
from models.errors import InferenceError
from models.network import Network
from models.service.device import Device
from models.service.inference import InferenceService, ServiceSettings

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


def service_of(network: object, clock: ManualClock) -> InferenceService:
    return InferenceService(Device(network, clock), clock, ServiceSettings(threads=2))


def run_live(
    clip: Path, network: object, book: NotingBook, clock: ManualClock, service: InferenceService | None = None
) -> Shard:
    source = PatientSource(clip, clock)

    service = service or service_of(network, clock)

    def wire(_camera, deliver):
        item = pipeline(clock, service.device)
        admission, backoff = Admission(clock, random.Random(1)), Backoff(random.Random(1), base_s=60)
        feed = Feed(item.intake, lambda: source, deliver, clock=clock, backoff=backoff, admission=admission)
        return Watched(item, feed)

    shard = Shard(wire, service, book, clock, ShardSpec(1))
    shard.set_cameras([CAMERA])
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


class FailsOnce:
    """The network, but the first look for people alone gets no answer."""

    batch = 1

    def __init__(self, network: Network) -> None:
        self._network, self.classes, self.failed = network, network.classes, False

    def input_size(self, width, height):
        return self._network.input_size(width, height)

    def detect(self, frame, *, parts):
        if parts == {Part.PEOPLE} and not self.failed:
            self.failed = True
            raise InferenceError("busy")
        return self._network.detect(frame, parts=parts)


@pytest.mark.parametrize("driver", ["lockstep", "live"])
def test_a_claim_whose_picture_failed_at_its_opening_gets_one_later(clip, network, tmp_path, driver):
    """Whoever drives: the next look that says more of the claim brings the picture, once."""
    clock, failing = ManualClock(START), FailsOnce(network)
    with Store.open(f"sqlite:///{tmp_path / driver}.db") as store:
        book = NotingBook(store, clock)
        if driver == "lockstep":
            source = FileSource(CAMERA.camera_id, clip, clock)
            drive(pipeline(clock, failing), source, clock, book.record)
        else:
            run_live(clip, failing, book, clock)
    assert failing.failed
    (first, later, *rest) = [(stage, has_picture) for stage, *_, has_picture in book.told]
    assert (first, later) == ((Stage.OPENED, False), (Stage.UPDATED, True))
    assert not any(has_picture for _, has_picture in rest)


class NoAnswer:
    """A network whose device is gone."""

    batch = 1

    def input_size(self, width, height):
        return width, height

    def detect(self, _frame, *, parts):
        raise InferenceError(f"device lost ({sorted(parts)})")


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

    def parts_for(self, _look):
        return frozenset()

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
    clock = ManualClock(START)
    service = service_of(NoAnswer(), clock)
    shard = Shard(None, service, None, clock, ShardSpec(0, beat=lambda: beats.append(1)))
    shard._live()
    assert beats == [1]
    monkeypatch.setattr(service, "longest_in_work_s", lambda: live_module.STUCK_S)
    shard._live()
    assert beats == [1]
    monkeypatch.setattr(service, "longest_in_work_s", lambda: 0.0)
    monkeypatch.setattr(live_module, "STUCK_S", 0.001)
    shard.to_decode.put("a", None)
    shard.to_decode.take(0)
    time.sleep(0.002)
    shard._live()
    assert beats == [1]


def test_a_device_that_stays_lost_stops_the_heartbeat():
    """A driver's context that broke is whole again only in a new process; nothing is seen until then anyway."""
    beats: list[int] = []
    clock, network = ManualClock(START), NoAnswer()
    device = Device(network, clock, reopen=NoAnswer)
    service = InferenceService(device, clock)
    shard = Shard(None, service, None, clock, ShardSpec(0, beat=lambda: beats.append(1)))
    for _ in range(3):
        device.failed(network, "gone")
    clock.advance(live_module.LOST_S - 1)
    shard._live()
    assert beats == [1]
    clock.advance(1)
    shard._live()
    assert beats == [1]


def test_looks_of_a_camera_with_an_open_claim_are_urgent(clip, network, tmp_path):
    """From its opening to its end: the service is told with each look."""
    clock = ManualClock(START)
    said: list[bool] = []
    with Store.open(f"sqlite:///{tmp_path / 'urgent'}.db") as store:
        book = NotingBook(store, clock)
        service = service_of(network, clock)
        submit = service.submit

        def note(look, parts, *, urgent):
            said.append(urgent)
            submit(look, parts, urgent=urgent)

        service.submit = note
        run_live(clip, network, book, clock, service)
    first = next(at_s for stage, _, at_s, *_ in book.told if stage is Stage.OPENED)
    assert first > QUIET_S
    assert said == sorted(said)
    assert {True, False} == set(said)


def test_a_claim_that_ended_is_urgent_no_more():
    """What is open is remembered by claim: another of the same camera keeps its looks first."""
    one = Watched(pipeline(ManualClock(START), NoAnswer()), None)

    def finding(name, stage):
        return Finding(
            finding_id=name, camera_id=CAMERA.camera_id, kind=Kind.FIRE, subtype="flame", zone_id="all", stage=stage,
            at=START, at_mono_s=0.0, began_at=START, confidence=0.5,
        )  # fmt: skip

    for name, stage in (("a", Stage.OPENED), ("b", Stage.OPENED), ("a", Stage.UPDATED), ("a", Stage.ENDED)):
        one.note(finding(name, stage))
    assert one.claims == {"b"}
    one.note(finding("b", Stage.ENDED))
    assert one.claims == set()
