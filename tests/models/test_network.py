# SPDX-License-Identifier: AGPL-3.0-or-later
import threading

import numpy as np
import pytest

from gridwatch.core.detections import ObjectClass
from gridwatch.core.errors import GridwatchError
from models.backends.port import RawAnswer
from models.errors import InferenceError
from models.network import Network, NetworkSettings


def same(a, b, tolerance=0.0):
    np.testing.assert_allclose(a.xyxy, b.xyxy, atol=tolerance)
    np.testing.assert_allclose(a.confidence, b.confidence, atol=tolerance)
    np.testing.assert_array_equal(a.class_id, b.class_id)


def test_the_burning_yard_is_seen_as_the_reference_sees_it(network, golden, yard, as_frame):
    """A flame and a smoke come out with the values of ONNX's reference evaluator (make_golden.py)."""
    seen = network.detect(as_frame(yard), crowd=True)
    strong = seen.where(seen.confidence >= 0.3)
    assert strong.class_id.tolist() == golden["class_id"].tolist() == [ObjectClass.FIRE, ObjectClass.SMOKE]
    np.testing.assert_allclose(strong.confidence, golden["confidence"], atol=1e-3)
    np.testing.assert_allclose(strong.xyxy, golden["xyxy"], atol=1e-3)
    assert seen.density.sum() == pytest.approx(golden["persons"], abs=5e-3)


def test_an_answer_has_the_shapes_that_core_promises(network, yard, as_frame):
    """Arrays are typed, sorted and normalised; change is unknown; the density covers exactly the picture."""
    seen = network.detect(as_frame(yard), crowd=True)
    assert len(seen) > 0
    assert (seen.xyxy.dtype, seen.confidence.dtype, seen.class_id.dtype) == (np.float32, np.float32, np.int64)
    assert (np.diff(seen.confidence) <= 0).all()
    assert ((seen.xyxy >= 0) & (seen.xyxy <= 1)).all()
    assert np.isnan(seen.change).all()
    assert seen.change.shape == seen.confidence.shape
    assert seen.density.shape == (45, 80)
    assert seen.density.dtype == np.float32


def test_without_the_counter_boxes_are_the_same(network, yard, as_frame):
    """The cheaper variant says the same of everything but the crowd."""
    full = network.detect(as_frame(yard), crowd=True)
    cut = network.detect(as_frame(yard), crowd=False)
    assert cut.density is None
    same(cut, full, 1e-5)


def test_a_portrait_picture_is_looked_at_upright(network, yard, as_frame):
    """In a portrait picture the flame is found where it stands."""
    tall = np.full((1280, 720, 3), 150, np.uint8)
    tall[500:860, 40:680] = yard
    seen = network.detect(as_frame(tall), crowd=True)
    fire = seen.of(ObjectClass.FIRE, at_least=0.3)
    assert seen.density.shape == (80, 45)
    assert len(fire) == 1
    centre = (fire.xyxy[0, :2] + fire.xyxy[0, 2:]) / 2 * (720, 1280)
    np.testing.assert_allclose(centre, (40 + 168, 500 + 210), atol=20)


def test_a_larger_picture_gives_the_same_places(network, golden, yard, as_frame):
    """The same scene at 1080p has its flame at the same normalised place."""
    large = yard.repeat(3, axis=0).repeat(3, axis=1)
    fire = network.detect(as_frame(large), crowd=False).of(ObjectClass.FIRE, at_least=0.3)
    np.testing.assert_allclose(fire.xyxy, golden["xyxy"][:1], atol=5e-3)


def test_two_threads_at_once_get_what_one_gets(network, yard, as_frame):
    """Looks of two threads do not mix, in sizes and with and without the counter."""
    frames = [as_frame(yard), as_frame(np.ascontiguousarray(yard[:, ::-1]))]
    alone = [network.detect(frame, crowd=True) for frame in frames]
    answers = {0: [], 1: []}

    def look(mine):
        for _ in range(6):
            answers[mine].append(network.detect(frames[mine], crowd=True))

    threads = [threading.Thread(target=look, args=(mine,)) for mine in answers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    for mine, seen in answers.items():
        assert len(seen) == 6
        for each in seen:
            same(each, alone[mine])
            np.testing.assert_array_equal(each.density, alone[mine].density)


def test_the_threshold_is_a_setting(catalogue, yard, as_frame):
    """Boxes below the least confidence are dropped, the others stay."""
    strict = Network.open(threads=1, settings=NetworkSettings(least_confidence=0.9), catalogue=catalogue)
    assert strict.detect(as_frame(yard), crowd=False).class_id.tolist() == [ObjectClass.FIRE]


def test_the_start_line_says_what_runs_where(network):
    """One line names network, device, precision and threads."""
    line = network.describe()
    assert "gridwatch-start (795da705db84)" in line
    assert "OpenVINO" in line
    assert "CPU, f32, 2 single-thread streams" in line
    assert "\n" not in line
    assert network.sha256.startswith("795da705db84")


class _Engine:
    device = "a test"

    def __init__(self, answer):
        self._answer = answer

    def prepare(self, height, width, *, crowd):
        """Nothing to do."""

    def run(self, images, *, crowd):
        return self._answer


@pytest.mark.parametrize("broken", ["detections", "density"])
def test_an_answer_that_is_not_finite_is_no_answer(catalogue, yard, as_frame, broken):
    """Numbers that are none make the look unknown; they are never "nothing there"."""
    arrays = {"detections": np.zeros((12, 20), np.float32), "density": np.zeros((48, 80), np.float32)}
    arrays[broken][-1, -1] = np.nan
    network = Network(catalogue.entry(), _Engine(RawAnswer(**arrays)), NetworkSettings())
    with pytest.raises(InferenceError, match="not finite") as raised:
        network.detect(as_frame(yard), crowd=True)
    assert isinstance(raised.value, GridwatchError)
    assert raised.value.reason


def test_what_lies_in_the_padding_is_no_detection(catalogue, yard, as_frame):
    """A box below the picture's lower edge is dropped."""
    raw = np.zeros((12, 4), np.float32)
    raw[:4, 0] = 100, 375, 40, 20
    raw[:4, 1] = 300, 100, 40, 20
    raw[4, :2] = 0.9
    network = Network(catalogue.entry(), _Engine(RawAnswer(raw, None)), NetworkSettings())
    seen = network.detect(as_frame(yard), crowd=False)
    np.testing.assert_allclose(seen.xyxy, [[280 / 640, 90 / 360, 320 / 640, 110 / 360]], rtol=1e-6)
