# SPDX-License-Identifier: AGPL-3.0-or-later
"""A camera with two streams: the small one is looked at, and the main one gives a larger still and a clip of an incident."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

import av
import cv2
import numpy as np
import pytest

from benchmarks.footage import Footage, quiet_clip
from events.alerts import Alert, AlertFilter
from events.evidence import CLEAN, CLIP, MASKED, EvidenceStore
from events.grids import Grids
from events.incidents import IncidentBook, Policy
from events.reading import AlertReader
from events.stores.sql import Store
from gridwatch.app.camera_wiring import CameraWiring
from gridwatch.app.live import Shard
from gridwatch.app.settings import IngestSettings
from gridwatch.app.shard_spec import ShardSpec
from gridwatch.app.watched import Watched
from gridwatch.core.camera import Camera, EvidenceFrom
from gridwatch.core.clock import SystemClock
from gridwatch.core.detections import Detections, ObjectClass
from gridwatch.core.finding import Finding, Stage
from gridwatch.core.look import Interest
from gridwatch.core.redact import SecretUrl
from gridwatch.core.zone import Kind, Zone
from models.service.device import Device
from models.service.inference import InferenceService, ServiceSettings

pytestmark = pytest.mark.timeout(120)

MAIN, SUB_WIDTH = (1280, 720), 640
PERSON = (0.3, 0.3, 0.6, 0.9)
PRE_ROLL_S, POST_ROLL_S, WITHIN_S = 1.0, 2.0, 60.0


class OnePerson:
    """A network that sees one person in every picture, and remembers how wide the pictures were."""

    plan, batch = None, 1
    parts = frozenset()
    classes = frozenset(ObjectClass)

    def __init__(self) -> None:
        self.widths: list[int] = []

    def input_size(self, width, height):
        return 640, 384

    def detect(self, frame, *, parts):
        self.widths.append(frame.width)
        return Detections(
            np.array([PERSON], np.float32),
            np.array([0.9], np.float32),
            np.array([ObjectClass.PERSON.value]),
            np.array([np.nan], np.float32),
        )


class OpensOnce:
    """Judges looks: one fire is claimed, once the memories that are read by then hold what came before."""

    parts, wants_follow, suspects = frozenset(), Interest.NOTHING, False

    def __init__(self, one: Watched) -> None:
        always = one.camera.evidence is EvidenceFrom.ALWAYS
        self._memories = [one.pipeline.intake.ring, *([one.evidence.ring] if always else [])]
        self._opened = False

    def parts_for(self, look):
        return self.parts

    def observed_s(self, kind):
        return (0.0,)

    def claims_within_s(self, kind):
        return 1e9

    def update(self, look, answer):
        if self._opened or any(memory.span_s < PRE_ROLL_S + 1 for memory in self._memories):
            return []
        self._opened = True
        finding = Finding(
            finding_id=look.camera_id, camera_id=look.camera_id, kind=Kind.FIRE, subtype="flame", zone_id="z",
            stage=Stage.OPENED, at=look.captured_at, at_mono_s=look.at_mono_s, began_at=look.captured_at, confidence=0.9,
        )  # fmt: skip
        return [finding]


@dataclass
class Recorded:
    """What was recorded of each camera's incident."""

    alerts: dict[str, Alert]
    evidence: EvidenceStore
    reader: AlertReader
    network: OnePerson


@pytest.fixture(scope="module")
def recorded(tmp_path_factory) -> Iterator[Recorded]:
    """Watch two cameras of one city, one whose main stream is read from an incident on, and one whose is read always."""
    folder = tmp_path_factory.mktemp("main-stream")
    clip = quiet_clip(
        folder / "street.mp4",
        Footage(seconds=12.0, size=MAIN, fps=10, gop_s=1.0, bit_rate=2_000_000, preset="ultrafast"),
    )
    command = [sys.executable, "-m", "gridwatch.app.cli", "simulate", str(clip), "--port", "0", "--sub"]
    with (
        subprocess.Popen(
            [*command, "--cameras", "2", "--with-parent"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as process,
        Store.open(f"sqlite:///{folder / 'gridwatch.db'}") as store,
    ):
        served = json.loads(process.stdout.readline())["cameras"]
        yield watched(folder, store, served)
        process.stdin.close()


def watched(folder, store, served) -> Recorded:
    kinds = (EvidenceFrom.ON_INCIDENT, EvidenceFrom.ALWAYS)
    cameras = [
        Camera(
            kind.name, "", SecretUrl(one["url"]), (Zone("z", frozenset({Kind.FIRE})),),
            sub_url=SecretUrl(one["sub_url"]), evidence=kind,
        )
        for kind, one in zip(kinds, served, strict=True)
    ]  # fmt: skip
    clock, network, evidence = SystemClock(), OnePerson(), EvidenceStore(folder / "evidence")
    places = {camera.camera_id: camera for camera in cameras}
    policy = Policy(run_mode="test")
    book = IncidentBook(store, clock, places=places, grids=Grids.none(), evidence=evidence, policy=policy)
    device = Device(network, clock)
    wiring = CameraWiring(IngestSettings(connects_per_s=100.0, look_every_s=1.0), device, clock)

    def wire(camera, deliver):
        one = wiring.wire(camera, deliver)
        one.pipeline.judging = OpensOnce(one)
        return one

    service = InferenceService(device, clock, ServiceSettings(threads=1))
    shard = Shard(wire, service, book, clock, ShardSpec(1, pre_roll_s=PRE_ROLL_S, post_roll_s=POST_ROLL_S))
    shard.set_cameras(cameras)
    shard.start()
    reader = AlertReader(store)
    try:
        alerts = _all_taken(reader)
    finally:
        shard.stop()
    return Recorded(alerts, evidence, reader, network)


def _all_taken(reader: AlertReader) -> dict[str, Alert]:
    until = time.monotonic() + WITHIN_S
    while True:
        alerts = {alert.camera_id: alert for alert in reader.list(AlertFilter(), None, 10).items}
        details = [alert.detail for alert in alerts.values() if alert.detail and alert.detail.still]
        clips = [alert for alert in alerts.values() if alert.clip.state == "ready"]
        if len(details) == len(clips) == 2 and any(detail.clip_sha256 for detail in details):
            return alerts
        assert time.monotonic() < until, alerts
        time.sleep(0.2)


def picture(recorded: Recorded, sha256: str, suffix: str) -> np.ndarray:
    return cv2.imread(str(recorded.evidence.path(sha256, suffix)))


def fine_structure(image: np.ndarray, box) -> float:
    """Return how much neighbours differ within a box."""
    height, width = image.shape[:2]
    x0, y0, x1, y1 = box
    part = image[int(y0 * height) : int(y1 * height), int(x0 * width) : int(x1 * width)].astype(float)
    return float(np.abs(np.diff(part, axis=1)).mean())


def clip_of(recorded: Recorded, sha256: str) -> tuple[int, float]:
    """Return a clip's width and seconds."""
    with av.open(recorded.evidence.path(sha256, CLIP)) as container:
        times = [frame.time for frame in container.decode(video=0)]
        return container.streams.video[0].width, times[-1] - times[0]


@pytest.mark.parametrize("camera_id", ["ON_INCIDENT", "ALWAYS"])
def test_an_incident_gets_a_larger_picture_of_its_main_stream(recorded, camera_id):
    """Beside the still of what was looked at stands the first picture of the main stream after it."""
    alert = recorded.alerts[camera_id]
    detail = alert.detail.still
    assert alert.still.width == SUB_WIDTH
    assert (detail.width, detail.height) == MAIN
    assert picture(recorded, detail.sha256, CLEAN).shape[:2] == MAIN[::-1]
    assert -0.5 < (detail.captured_at - alert.still.captured_at).total_seconds() < 30
    assert MAIN[0] in recorded.network.widths


@pytest.mark.parametrize("camera_id", ["ON_INCIDENT", "ALWAYS"])
def test_who_is_to_be_seen_in_it_is_blurred_in_what_leaves(recorded, camera_id):
    """The network was asked about that very picture; the rest of it is as sharp as the clean one."""
    detail = recorded.alerts[camera_id].detail.still
    clean, masked = picture(recorded, detail.sha256, CLEAN), picture(recorded, detail.masked_sha256, MASKED)
    inside, outside = (0.35, 0.4, 0.55, 0.8), (0.75, 0.4, 0.95, 0.8)
    assert fine_structure(masked, inside) < 0.5 * fine_structure(clean, inside)
    assert fine_structure(masked, outside) > 0.9 * fine_structure(clean, outside)


def test_what_the_main_stream_shows_from_the_incident_on_is_a_second_clip(recorded):
    """The usual clip is of the small stream and goes back before the opening; the second one is of the main stream."""
    alert = recorded.alerts["ON_INCIDENT"]
    width, seconds = clip_of(recorded, alert.clip.sha256)
    assert width == SUB_WIDTH
    assert seconds > POST_ROLL_S
    width, seconds = clip_of(recorded, alert.detail.clip_sha256)
    assert width == MAIN[0]
    assert seconds == pytest.approx(POST_ROLL_S, abs=0.3)


def test_where_the_main_stream_is_always_read_the_clip_is_from_it(recorded):
    """It shows the time before the incident too, so there is no second one."""
    alert = recorded.alerts["ALWAYS"]
    width, seconds = clip_of(recorded, alert.clip.sha256)
    assert width == MAIN[0]
    assert seconds > POST_ROLL_S
    assert alert.detail.clip_sha256 is None


def test_none_of_it_is_a_revision_or_a_message(recorded):
    """As with any clip: rows of the journal that say what was stored, and no more."""
    for alert in recorded.alerts.values():
        rows = recorded.reader.timeline(alert.id)
        assert (alert.revision, {row.kind for row in rows[1:]}) == (1, {"evidence"})
        assert alert.detail.still.sha256 in [row.payload.get("detail_still") for row in rows]
        assert [row.message_id for row in rows[1:]] == [None] * (len(rows) - 1)
