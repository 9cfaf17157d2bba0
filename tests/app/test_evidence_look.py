# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who is blurred in the picture of a claim, and when there is no picture because nobody can tell."""

from datetime import UTC, datetime

import numpy as np
import pytest

from detectors.judge import Judge
from gridwatch.app import pipeline as pipeline_module
from gridwatch.app.pipeline import TRIES, CameraPipeline
from gridwatch.core.camera import Camera
from gridwatch.core.clock import ManualClock
from gridwatch.core.detections import Detections, ObjectClass, Part, Unknown
from gridwatch.core.finding import Finding, Stage
from gridwatch.core.look import Look, LookReason
from gridwatch.core.redact import SecretUrl
from gridwatch.core.zone import Kind, Zone
from ingest.intake import CameraIntake
from models.errors import InferenceError
from models.pictures import Picture
from models.service.device import Device, DeviceState

AT = datetime(2026, 5, 1, tzinfo=UTC)
PEOPLE = frozenset({Part.PEOPLE})


def seen(*kinds, confidence=0.5):
    """Return an answer with one box of each class."""
    boxes = np.tile(np.float32([0.25, 0.25, 0.5, 0.75]), (len(kinds), 1))
    return Detections(
        boxes,
        np.full(len(kinds), confidence, np.float32),
        np.array(kinds, np.int64),
        np.full(len(kinds), np.nan, np.float32),
    )


class Network:
    """Remembers what it was asked for; gives one answer after the other, the last for ever."""

    batch = 1

    def __init__(self, *answers, classes=tuple(ObjectClass)):
        self._answers, self.classes, self.asked = list(answers), frozenset(classes), []

    def input_size(self, width, height):
        return width, height

    def detect(self, frame, *, parts):
        self.asked.append((frame, parts))
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def pipeline(network, *kinds):
    camera = Camera("yard", "院落", SecretUrl("rtsp://h/yard"), (Zone("all", frozenset(kinds)),))
    return CameraPipeline(camera, CameraIntake(camera, ManualClock(AT)), network, Judge(camera))


def look_at(at_s):
    return Look("yard", LookReason.PATROL, at_s, AT, 0.0, Picture(np.zeros((360, 640, 3), np.uint8)))


@pytest.fixture
def look():
    return look_at(1.0)


def finding(stage=Stage.OPENED, name="f1"):
    return Finding(
        finding_id=name,
        camera_id="yard",
        kind=Kind.FIRE,
        subtype="flame",
        zone_id="all",
        stage=stage,
        at=AT,
        at_mono_s=1.0,
        began_at=AT,
        confidence=0.9,
    )


def test_a_camera_without_people_looks_for_them_once_when_a_claim_opens(look):
    """The picture comes with who must be blurred in it, though its looks never asked."""
    network = Network(seen(ObjectClass.PERSON, ObjectClass.CAR))
    frame, persons = pipeline(network, Kind.FIRE).evidence_of(finding(), look, seen(ObjectClass.FIRE))
    assert frame is look.frame
    assert [(box.label, box.x0, box.y1) for box in persons] == [("person", 0.25, 0.75)]
    assert network.asked == [(look.frame, PEOPLE)]


@pytest.mark.parametrize("failure", [InferenceError("device lost"), ValueError("no picture")])
def test_without_an_answer_about_people_there_is_no_picture(look, failure):
    """Nobody knows who is to be seen: nothing leaves unblurred; the claim itself stands."""
    evidence = pipeline(Network(failure), Kind.SMOKE).evidence_of(finding(), look, seen(ObjectClass.SMOKE))
    assert evidence == (None, ())


@pytest.mark.parametrize("kind", [Kind.CROWD, Kind.TRAFFIC])
def test_a_camera_whose_looks_ask_for_people_needs_no_second_look(look, kind):
    """Its answer tells them already."""
    network = Network(InferenceError("not to be asked"))
    frame, persons = pipeline(network, Kind.FIRE, kind).evidence_of(finding(), look, seen(ObjectClass.PERSON))
    assert frame is look.frame
    assert len(persons) == 1
    assert network.asked == []


@pytest.mark.parametrize(
    ("stage", "answer"),
    [(Stage.UPDATED, seen(ObjectClass.FIRE)), (Stage.ENDED, seen()), (Stage.OPENED, Unknown("late"))],
)
def test_what_goes_on_or_is_unknown_costs_no_look(look, stage, answer):
    """A claim that has its picture, or had its end, needs none."""
    network = Network(seen(ObjectClass.PERSON))
    assert pipeline(network, Kind.FIRE).evidence_of(finding(stage), look, answer) == (None, ())
    assert network.asked == []


VEHICLES_AND_FIRE = (ObjectClass.CAR, ObjectClass.TRUCK, ObjectClass.FIRE)


@pytest.mark.parametrize("kind", [Kind.FIRE, Kind.TRAFFIC])
def test_a_network_that_tells_no_persons_gives_no_picture(look, kind):
    """Boxes of vehicles answer "people" too, but say nothing of who is to be seen: nothing leaves unblurred."""
    network = Network(seen(ObjectClass.CAR), classes=VEHICLES_AND_FIRE)
    cameras = pipeline(network, kind)
    assert cameras.evidence_of(finding(), look, seen(ObjectClass.CAR)) == (None, ())
    assert network.asked == []


def test_a_network_that_does_not_say_what_it_tells_gives_no_picture(look):
    """Whoever forgets to say is taken for one that tells no persons."""
    network = Network(seen())
    del network.classes
    assert pipeline(network, Kind.CROWD).evidence_of(finding(), look, seen()) == (None, ())


@pytest.mark.parametrize(("classes", "pictures"), [(tuple(ObjectClass), 1), (VEHICLES_AND_FIRE, 0)])
def test_a_device_tells_what_its_network_tells(look, classes, pictures):
    """Live, the pipeline asks the device; a question that the network cannot answer is no failure of the device."""
    network = Network(InferenceError("does not tell people"), seen(), classes=classes)
    device = Device(network, ManualClock(AT), reopen=lambda: network)
    cameras = pipeline(device, Kind.FIRE)
    frames = [
        cameras.evidence_of(finding(name=f"f{at}"), look_at(1.0 + at // 4), seen(ObjectClass.FIRE))[0]
        for at in range(8)
    ]
    assert sum(frame is not None for frame in frames) == 4 * pictures
    assert (len(network.asked), device.state) == (2 * pictures, DeviceState.READY)


def test_a_lost_device_gives_no_picture(look):
    """Nobody can be asked then."""
    network = Network(seen(ObjectClass.PERSON))
    device = Device(network, ManualClock(AT), reopen=lambda: network)
    for _ in range(3):
        device.failed(network, "gone")
    assert pipeline(device, Kind.FIRE).evidence_of(finding(), look, seen()) == (None, ())
    assert network.asked == []


@pytest.mark.parametrize("answer", [seen(ObjectClass.PERSON), InferenceError("busy")])
def test_people_are_asked_for_once_a_look(look, answer):
    """However many claims open in it, and whatever came of the question."""
    network = Network(answer)
    cameras = pipeline(network, Kind.FIRE, Kind.SMOKE)
    evidence = [cameras.evidence_of(finding(name=name), look, seen(ObjectClass.FIRE)) for name in "abc"]
    assert len(network.asked) == 1
    assert evidence[0] == evidence[1] == evidence[2]
    cameras.evidence_of(finding(name="d"), look_at(2.0), seen(ObjectClass.FIRE))
    assert len(network.asked) == 2


def test_a_claim_that_opened_without_a_picture_gets_one_as_it_goes_on():
    """A look for people that failed once must not leave the incident without a picture for its life."""
    network = Network(InferenceError("busy"), InferenceError("busy"), seen(ObjectClass.PERSON))
    cameras = pipeline(network, Kind.FIRE)
    stages = [Stage.OPENED, Stage.UPDATED, Stage.UPDATED, Stage.UPDATED]
    evidence = [
        cameras.evidence_of(finding(stage), look_at(at), seen(ObjectClass.FIRE))
        for at, stage in enumerate(stages)
    ]
    assert [frame is not None for frame, _ in evidence] == [False, False, True, False]
    assert len(evidence[2][1]) == 1
    assert len(network.asked) == 3


def test_a_claim_that_was_hidden_gets_a_picture_when_it_goes_on():
    """Its case may be closed meanwhile, and it goes on as another incident; only what goes on costs a look."""
    network = Network(seen(ObjectClass.PERSON))
    cameras = pipeline(network, Kind.FIRE)
    stages = [Stage.OPENED, Stage.UPDATED, Stage.UNSEEN, Stage.UPDATED, Stage.UPDATED]
    frames = [
        cameras.evidence_of(finding(stage), look_at(at), seen(ObjectClass.FIRE))[0]
        for at, stage in enumerate(stages)
    ]
    assert [frame is not None for frame in frames] == [True, False, False, True, False]


def test_a_picture_is_tried_for_a_few_times_only():
    """People that no look tells must not cost one more look for ever; nor does a claim that ended."""
    network = Network(InferenceError("busy"))
    cameras = pipeline(network, Kind.FIRE)
    for at in range(20):
        cameras.evidence_of(finding(Stage.UPDATED if at else Stage.OPENED), look_at(at), seen())
    assert len(network.asked) == TRIES
    for at, stage in enumerate([Stage.OPENED, Stage.ENDED, Stage.UPDATED]):
        cameras.evidence_of(finding(stage, "f2"), look_at(50 + at), seen())
    assert len(network.asked) == TRIES + 1
    assert cameras._owed == {}


def test_claims_that_wait_for_a_picture_are_bounded():
    """The oldest gives way."""
    cameras = pipeline(Network(InferenceError("busy")), Kind.FIRE)
    for at in range(200):
        cameras.evidence_of(finding(name=f"f{at}"), look_at(at), seen())
    assert len(cameras._owed) == pipeline_module.MOST_OWED
    assert "f199" in cameras._owed
