# SPDX-License-Identifier: AGPL-3.0-or-later
import numpy as np
import pytest

from gridwatch.core.detections import ObjectClass, Part
from models.decode import MOST_BOXES, ClassMap, Reading
from models.decode import decode as decode_heads

SOLID = ClassMap.of({kind: int(kind) for kind in list(ObjectClass)[:6]}, 6, frozenset(Part))
BURNING = ClassMap.of({ObjectClass.FIRE: 0, ObjectClass.SMOKE: 1}, 2, frozenset(Part))


def anchors(half):
    """Return answers (12, 2 * half) that see nothing: boxes of 20 × 20 pixels, scores 0; the halves are the two heads'."""
    raw = np.zeros((12, 2 * half), np.float32)
    raw[2:4] = 20
    return raw


def heads(raw):
    """Return the two heads' answers as the network has them."""
    half = raw.shape[1] // 2
    fire = np.ascontiguousarray(raw[[0, 1, 2, 3, 10, 11], half:])
    return [(np.ascontiguousarray(raw[:10, :half]), SOLID), (fire, BURNING)]


def decode(raw, least=0.1, **more):
    return decode_heads(heads(raw), Reading(least, **more))


def scene(seed, half=300):
    """Return random overlapping boxes; most scores are low, the halves carry their own classes only."""
    rng = np.random.default_rng(seed)
    raw = anchors(half)
    raw[:2] = rng.uniform(0, 120, (2, 2 * half))
    raw[2:4] = rng.uniform(10, 60, (2, 2 * half))
    raw[4:10, :half] = rng.uniform(0, 1, (6, half)) ** 8
    raw[10:, half:] = rng.uniform(0, 1, (2, half)) ** 4
    return raw


def overlap(a, b):
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    return width * height / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - width * height)


def by_loops(raw, least):
    """Decode one anchor after the other, greedily, as written in the text books."""
    half, found = raw.shape[1] // 2, []
    for index in range(raw.shape[1]):
        x, y, w, h = (float(side) for side in raw[:4, index])
        scores = [float(score) for score in raw[4:, index]]
        kinds = [max(range(6), key=scores.__getitem__)] if index < half else [6, 7]
        box = (x - w / 2, y - h / 2, x + w / 2, y + h / 2)
        found += [(scores[kind], kind, box) for kind in kinds if scores[kind] >= least]
    kept = []
    for score, kind, box in sorted(found, key=lambda each: -each[0]):
        limit = 0.6 if kind < 6 else 0.5
        if not any(kind == other and overlap(box, its) > limit for _, other, its in kept):
            kept.append((score, kind, box))
    most = [[each for each in kept if (each[1] < 6) == solid][:MOST_BOXES] for solid in (True, False)]
    return [each for each in kept if each in most[each[1] >= 6]]


@pytest.mark.parametrize("seed", range(12))
def test_decoding_equals_a_plain_loop(seed):
    """Boxes, scores, classes and their order are those of the obvious implementation."""
    raw = scene(seed)
    expected = by_loops(raw, np.float32(0.1))
    boxes = decode(raw, 0.1)
    assert len(expected) > 50
    np.testing.assert_array_equal(boxes.class_id, [kind for _, kind, _ in expected])
    np.testing.assert_allclose(boxes.confidence, [score for score, _, _ in expected], rtol=1e-6)
    np.testing.assert_allclose(boxes.xyxy, [box for _, _, box in expected], atol=1e-4)


def test_an_answer_that_sees_nothing_has_no_boxes():
    """Nothing above the threshold gives empty arrays of the right shapes."""
    boxes = decode(anchors(10))
    assert boxes.xyxy.shape == (0, 4)
    assert boxes.confidence.shape == boxes.class_id.shape == (0,)


def test_flames_and_their_smoke_may_come_from_one_anchor():
    """Fire and smoke do not exclude each other."""
    raw = anchors(2)
    raw[10:, 3] = 0.7, 0.6
    assert decode(raw).class_id.tolist() == [ObjectClass.FIRE, ObjectClass.SMOKE]


def test_one_van_is_one_vehicle():
    """An anchor of people and vehicles gives its best class only."""
    raw = anchors(2)
    raw[4 + ObjectClass.CAR, 0], raw[4 + ObjectClass.TRUCK, 0] = 0.5, 0.6
    assert decode(raw).class_id.tolist() == [ObjectClass.TRUCK]


def test_only_columns_of_the_parts_asked_for_are_read():
    """A head that tells both kinds, in any order and among columns that mean nothing, is read for what was asked."""
    columns = {ObjectClass.SMOKE: 0, ObjectClass.PERSON: 3, ObjectClass.CAR: 1}
    raw = np.zeros((9, 3), np.float32)
    raw[:4] = np.float32([[10, 100, 200], [10] * 3, [20] * 3, [20] * 3])
    raw[4, 0], raw[4 + 3, 1], raw[4 + 1, 2], raw[4 + 2] = 0.9, 0.8, 0.7, 0.99
    for parts, expected in (
        ({Part.FIRE}, [ObjectClass.SMOKE]),
        ({Part.PEOPLE}, [ObjectClass.PERSON, ObjectClass.CAR]),
        (set(Part), [ObjectClass.SMOKE, ObjectClass.PERSON, ObjectClass.CAR]),
        ({Part.CROWD}, []),
    ):
        where = ClassMap.of(columns, 5, frozenset(parts))
        assert decode_heads([(raw, where)], Reading()).class_id.tolist() == expected


def test_for_scoring_one_anchor_gives_every_class_and_the_overlap_may_be_set():
    """As detectors are scored: several classes of a place count, and boxes that overlap by less than the bound stay."""
    raw = anchors(2)
    raw[4 + ObjectClass.CAR, 0], raw[4 + ObjectClass.TRUCK, 0] = 0.5, 0.6
    raw[0, 1], raw[4 + ObjectClass.TRUCK, 1] = 4, 0.4  # IoU 2 / 3 with the first
    assert decode(raw, every_class=True).class_id.tolist() == [ObjectClass.TRUCK, ObjectClass.CAR]
    both = decode(raw, every_class=True, overlap_solid=0.7)
    assert both.class_id.tolist() == [ObjectClass.TRUCK, ObjectClass.CAR, ObjectClass.TRUCK]


def test_the_same_place_may_hold_a_person_and_a_motorcycle():
    """Suppression is per class."""
    raw = anchors(2)
    raw[4 + ObjectClass.PERSON, 0] = raw[4 + ObjectClass.MOTORCYCLE, 1] = 0.8
    assert sorted(decode(raw).class_id.tolist()) == [ObjectClass.PERSON, ObjectClass.MOTORCYCLE]


def test_a_flood_of_boxes_is_bounded_to_the_strongest():
    """At most 300 boxes of one kind come out, and those are the most certain."""
    raw = anchors(4000)
    raw[0], raw[1] = np.arange(8000) % 100 * 30, np.arange(8000) // 100 * 30
    raw[4, :4000] = np.linspace(0.2, 0.9, 4000)
    boxes = decode(raw)
    assert len(boxes.confidence) == MOST_BOXES
    np.testing.assert_allclose(
        boxes.confidence, np.linspace(0.2, 0.9, 4000)[: -MOST_BOXES - 1 : -1], rtol=1e-5
    )


def test_a_crowd_does_not_push_a_fire_out_of_a_look():
    """However many people are seen more certainly, the flame and its smoke stay."""
    raw = anchors(4000)
    raw[0], raw[1] = np.arange(8000) % 100 * 30, np.arange(8000) // 100 * 30
    raw[4, :4000] = 0.9
    raw[10, 4000], raw[11, 5000] = 0.4, 0.15
    kinds = decode(raw).class_id.tolist()
    assert kinds[-2:] == [ObjectClass.FIRE, ObjectClass.SMOKE]
    assert len(kinds) == MOST_BOXES + 2
