# SPDX-License-Identifier: AGPL-3.0-or-later
"""Measuring change inside boxes."""

from datetime import UTC, datetime

import numpy as np
import pytest

from detectors.change import ChangeMeter, changes_inside, is_cut
from gridwatch.core.detections import Detections, ObjectClass
from gridwatch.core.look import Look, LookReason

BOX = np.array([[0.25, 0.25, 0.5, 0.5]], np.float32)


class Grey:
    def __init__(self, plane):
        self.plane = plane
        self.height, self.width = plane.shape

    def luma(self):
        return self.plane


def boxes_of(*classes, at=BOX):
    """Return an answer with one box of each class: the first at BOX, the others at `at`."""
    xyxy = np.concatenate([BOX, *[at] * (len(classes) - 1)])
    return Detections(
        xyxy, np.ones(len(classes), np.float32), np.array(classes), np.full(len(classes), np.nan, np.float32)
    )


def one_box():
    return Detections(BOX, np.ones(1, np.float32), np.full(1, 6), np.full(1, np.nan, np.float32))


def look(plane, at_s):
    return Look("c", LookReason.PATROL, at_s, datetime(2026, 1, 1, tzinfo=UTC), 0.0, Grey(plane))


def scene(inside=80, everywhere=0, height=360, width=640):
    plane = np.full((height, width), 100, np.uint8)
    plane[height // 4 : height // 2, width // 4 : width // 2] = inside
    return plane + np.uint8(everywhere)


def measured(*planes, step_s=2.0):
    meter = ChangeMeter()
    return [float(meter.measure(look(p, 5 + i * step_s), one_box()).change[0]) for i, p in enumerate(planes)]


def test_the_first_look_is_not_measured():
    """Nothing can be said about change before there were two looks."""
    assert np.isnan(measured(scene())[0])


def test_a_changed_inside_is_measured_in_grey_levels():
    """The mean absolute difference inside the box is the change."""
    assert measured(scene(80), scene(120))[1] == pytest.approx(40, abs=1)


def test_brightness_of_the_whole_picture_is_no_change():
    """A camera whose exposure hunts does not make a lamp flicker."""
    assert measured(scene(80), scene(80, everywhere=30))[1] == pytest.approx(0, abs=0.5)


def test_a_change_elsewhere_is_not_inside():
    """What moves outside the box leaves its change at zero."""
    moved = scene()
    moved[:60, :] = 200
    assert measured(scene(), moved)[1] == pytest.approx(0, abs=0.5)


@pytest.mark.parametrize(
    ("second", "step_s"),
    [(scene(80, height=480), 2.0), (scene(80), 25.0)],
    ids=["another size", "too long ago"],
)
def test_pictures_that_cannot_be_compared_are_not_measured(second, step_s):
    """Another picture size or a long gap gives NaN, not a number."""
    assert np.isnan(measured(scene(80), second, step_s=step_s)[1])


@pytest.mark.parametrize(
    ("times_s", "is_measured"),
    [
        ([0, 30, 60], True),
        ([0, 30, 60, 145], True),
        ([0, 30, 60, 155], False),
        ([0, 4, 8, 12, 33], False),
        ([0, 90, 94, 98, 140], False),
        ([0, 100, 200, 319], True),
        ([0, 100, 200, 321], False),
        ([0, 4, 8, 12, 16, 20, 60, 100, 140, 180], True),
    ],
    ids=[
        "its own cadence",
        "two looks missed",
        "more than three intervals",
        "a gap in a fast cadence",
        "one long gap is no cadence",
        "within two minutes",
        "never beyond two minutes",
        "a cadence that became slow",
    ],
)
def test_what_is_too_old_follows_the_cadence(times_s, is_measured):
    """The look before counts up to 20 s, or up to three usual intervals, and never beyond 120 s."""
    meter = ChangeMeter()
    changes = [meter.measure(look(scene(), at_s), one_box()).change[0] for at_s in times_s]
    assert bool(np.isfinite(changes[-1])) is is_measured


def test_a_black_picture_before_is_not_measured():
    """Where the whole picture is another one, nothing inside a box was seen to change."""
    texture = np.random.default_rng(3).integers(0, 255, (18, 32), np.uint8).repeat(20, 0).repeat(20, 1)
    assert np.isnan(measured(np.zeros_like(texture), texture)[1])


def test_a_box_over_the_whole_picture_is_measured():
    """Where boxes leave no outside, the whole picture serves as reference."""
    difference = np.zeros((180, 320), np.int16)
    difference[:40] = 90
    change = changes_inside(difference, np.array([[0, 0, 1, 1]], np.float32))
    assert change[0] == pytest.approx(20, abs=0.1)


def test_boxes_at_and_beyond_the_edge_are_measured():
    """A box without a whole pixel, or at the very edge, still gives a number."""
    boxes = np.array([[1, 1, 1, 1], [0.5, 0.5, 0.5, 0.5], [-0.1, -0.1, 0.0, 0.0]], np.float32)
    assert np.isfinite(changes_inside(np.zeros((180, 320), np.int16), boxes)).all()


def test_a_slow_pan_is_no_cut():
    """Half a picture of change is still the same view."""
    difference = np.zeros((180, 320), np.int16)
    difference[:80] = 120
    assert not is_cut(difference)


def test_no_boxes_give_no_changes():
    """An answer without boxes stays one."""
    assert len(changes_inside(np.zeros((180, 320), np.int16), np.zeros((0, 4), np.float32))) == 0


@pytest.mark.parametrize(
    ("measured_class", "other_class"),
    [
        (ObjectClass.FIRE, ObjectClass.PERSON),
        (ObjectClass.SMOKE, ObjectClass.TRUCK),
        (ObjectClass.CAR, ObjectClass.SMOKE),
    ],
)
def test_the_measure_does_not_depend_on_what_else_was_asked_for(measured_class, other_class):
    """A camera with zones for fire alone gets no boxes of people: its flames must change as much as everywhere else."""
    left_half = np.array([[0, 0, 0.6, 1]], np.float32)
    first, second = scene(), scene(120)
    second[:, :384] += 20  # where the other box is; without it the median of the outside is 20, with it 0
    changes = []
    for answer in (boxes_of(measured_class), boxes_of(measured_class, other_class, at=left_half)):
        meter = ChangeMeter()
        meter.measure(look(first, 5), answer)
        changes.append(float(meter.measure(look(second, 7), answer).change[0]))
    assert changes[0] == changes[1] == pytest.approx(40, abs=1)


def test_boxes_of_one_part_are_left_out_together():
    """Smoke that covers most of the picture is no change of the picture's exposure for the flame in it."""
    first, second = scene(), scene(120)
    second[:, :384] += 20
    most = np.array([[0, 0, 0.6, 1]], np.float32)
    meter = ChangeMeter()
    answer = boxes_of(ObjectClass.FIRE, ObjectClass.SMOKE, at=most)
    meter.measure(look(first, 5), answer)
    assert float(meter.measure(look(second, 7), answer).change[0]) == pytest.approx(60, abs=1)
