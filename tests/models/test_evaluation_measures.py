# SPDX-License-Identifier: AGPL-3.0-or-later
"""The measures themselves, on numbers small enough to work out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.evaluation.alarms import (
    Scores,
    Share,
    choose_thresholds,
    claimed_at,
    found_at,
    recall_at,
    recall_by_claims,
    threshold_for,
)
from models.evaluation.matching import iou, match, take_labels
from models.evaluation.pictures import mount_as_validator, validator_side_px
from models.evaluation.precision import ap50, average_precision, interval
from models.evaluation.slices import by_height


def hits(text):
    return np.array([mark == "+" for mark in text], np.bool_)


def boxes(*rows):
    return np.array(rows, np.float32).reshape(-1, 4)


def test_iou_of_known_boxes():
    """Equal boxes overlap wholly, halves by a half, neighbours not at all; a stretched axis changes nothing."""
    one = boxes([0, 0, 0.4, 0.4])
    others = boxes([0, 0, 0.4, 0.4], [0, 0, 0.2, 0.4], [0.5, 0.5, 0.9, 0.9])
    assert np.allclose(iou(one, others), [[1, 0.5, 0]], atol=1e-6)
    assert np.allclose(iou(one * [2, 1, 2, 1], others * [2, 1, 2, 1]), iou(one, others), atol=1e-6)


def test_each_box_takes_the_best_label_that_is_free():
    """The surer box takes the label both want; the other gets its second best, or none."""
    overlaps = np.array([[0.9, 0.6], [0.95, 0.7], [0.8, 0.9]])
    assert take_labels(overlaps).tolist() == [0, 1, -1]
    assert take_labels(np.array([[0.49], [0.5]])).tolist() == [-1, 0]
    assert take_labels(np.zeros((3, 0))).tolist() == [-1, -1, -1]


@pytest.mark.parametrize(
    ("marks", "labels", "expected"),
    [
        ("+", 1, 1.0),
        ("++", 2, 1.0),
        ("-", 1, 0.0),
        ("", 1, 0.0),
        # One of two labels, found first: precision 1 at the 51 recalls up to a half, where it falls; trapezoids of 0.01.
        ("+", 2, 0.5),
        # A wrong box before the only right one: the curve begins at precision 1 at recall 0 and falls to 1/2 at once.
        ("-+", 1, 0.5),
    ],
)
def test_average_precision_by_hand(marks, labels, expected):
    """Average precision of a few boxes is what the definition gives on paper, to the width of one of 101 steps."""
    assert average_precision(hits(marks), labels) == pytest.approx(expected, abs=0.0101)


def test_average_precision_reads_101_recalls():
    """The area is that of the enveloped curve read at 101 recalls, integrated by trapezoids."""
    # Precision after each of five boxes: 1, 1/2, 2/3, 1/2, 3/5 at recalls 1/4, 1/4, 2/4, 2/4, 3/4; envelope 1, 2/3, 2/3, 3/5, 3/5.
    at = np.linspace(0, 1, 101)
    heights = np.interp(at, [0, 0.25, 0.25, 0.5, 0.5, 0.75, 0.75, 1], [1, 1, 2 / 3, 2 / 3, 0.6, 0.6, 0, 0])
    expected = float(np.sum((heights[1:] + heights[:-1]) / 2 * 0.01))
    assert average_precision(hits("+-+-+"), 4) == pytest.approx(expected, abs=1e-9)


def test_without_labels_there_is_no_precision():
    """A class without labels has no average precision and no interval: nothing is not zero."""
    nothing = match([boxes()], [boxes([0, 0, 1, 1])], [np.array([0.9])])
    assert np.isnan(ap50(nothing))
    assert interval(nothing, np.array([0])) is None


@given(st.lists(st.booleans(), max_size=60), st.integers(min_value=0, max_value=20))
def test_average_precision_is_a_share(marks, missed):
    """Whatever the boxes, average precision lies between 0 and 1 and not above the recall that was reached."""
    labels = sum(marks) + missed
    if labels:
        value = average_precision(np.array(marks, np.bool_), labels)
        assert 0 <= value <= sum(marks) / labels + 0.011


def pictures_of_groups(groups, each):
    """Return matches of `groups`×`each` pictures: all pictures of an even group are found, of an odd one missed."""
    label = boxes([0.1, 0.1, 0.5, 0.5])
    found = [group % 2 == 0 for group in range(groups) for _ in range(each)]
    seen = [label if hit else boxes() for hit in found]
    return match([label] * len(found), seen, [np.full(len(box), 0.8) for box in seen])


def test_pictures_of_a_group_are_drawn_together():
    """Ten like pictures of one clip tell no more than one: the interval is as wide as that of the clips."""
    matches = pictures_of_groups(groups=20, each=10)
    clustered = interval(matches, np.repeat(np.arange(20), 10))
    single = interval(matches, np.arange(200))
    assert clustered[0] < ap50(matches) < clustered[1]
    assert clustered[1] - clustered[0] > 2 * (single[1] - single[0])


def test_the_interval_is_the_same_each_time():
    """The draws are seeded."""
    matches, group = pictures_of_groups(10, 3), np.repeat(np.arange(10), 3)
    assert interval(matches, group, resamples=9) == interval(matches, group, resamples=9)
    assert interval(matches, group, resamples=9, seed=1) != interval(matches, group, resamples=9, seed=2)


@pytest.mark.parametrize(("negatives", "allowed"), [(129, 1), (99, 0), (100, 1), (250, 2), (3, 0)])
def test_one_percent_of_the_negatives_is_rounded_down(negatives, allowed):
    """Of 129 negatives exactly one may be claimed, of fewer than a hundred none."""
    scores = np.linspace(0.1, 0.9, negatives)
    assert int((scores >= threshold_for(scores, 0.01)).sum()) == allowed


def test_equal_scores_do_not_exceed_what_is_allowed():
    """Where negatives tie at the edge none of them is claimed."""
    assert threshold_for(np.array([0.5] * 100), 0.01) > 0.5


def two_classes():
    """Four pictures with fire, four with smoke, forty negatives: one looks like fire, two others like smoke."""
    fire = np.array([0.9, 0.8, 0.7, 0.6] + [0.0] * 4 + [0.1] * 39 + [0.65])
    smoke = np.array([0.0] * 4 + [0.6, 0.5, 0.4, 0.38] + [0.45, 0.35] + [0.1] * 38)
    shows = np.arange(48)
    scores = {"fire": Scores(fire, shows < 4), "smoke": Scores(smoke, (shows >= 4) & (shows < 8))}
    return scores, shows >= 8


def test_recall_where_one_percent_is_claimed():
    """With forty negatives none may be claimed: smoke is found where it scores above all of them."""
    scores, negative = two_classes()
    threshold, found = recall_at(scores["smoke"], negative, 0.01)
    assert found == Share(2, 4)
    assert 0.45 < threshold < 0.450002
    assert recall_at(scores["smoke"], negative & False, 0.01) is None


def test_the_operating_point_spends_the_allowance_where_it_finds_most():
    """One of forty may be claimed: it goes to smoke, where it finds two more pictures, not to fire, where it finds one."""
    scores, negative = two_classes()
    chosen = choose_thresholds(scores, negative)
    assert int(claimed_at(scores, negative, chosen).sum()) == 1
    assert found_at(scores["fire"], chosen["fire"]) == Share(3, 4)
    assert found_at(scores["smoke"], chosen["smoke"]) == Share(4, 4)
    assert 0.35 < chosen["smoke"] < 0.350002
    assert choose_thresholds(scores, negative & False) is None


def test_a_negative_is_claimed_by_either_class():
    """A picture without fire and smoke is claimed when any of both reaches its own threshold."""
    scores, negative = two_classes()
    assert int(claimed_at(scores, negative, {"fire": 0.05, "smoke": 0.9}).sum()) == 40
    assert int(claimed_at(scores, negative, {"fire": 0.2, "smoke": 0.3}).sum()) == 3


def test_recall_grows_with_the_claims():
    """The curve of recall over claimed negatives begins at none claimed and never falls."""
    scores, negative = two_classes()
    points = recall_by_claims(scores["smoke"], negative)
    assert points[:3] == [(0.0, 0.5), (1 / 40, 1.0), (2 / 40, 1.0)]


@pytest.mark.parametrize(
    ("found", "of", "low", "high"), [(8, 10, 0.4902, 0.9433), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0)]
)
def test_wilson_intervals(found, of, low, high):
    """Intervals of shares are Wilson's."""
    assert Share(found, of).ci95 == pytest.approx((low, high), abs=1e-4)
    assert Share(0, 0).ci95 is None


@pytest.mark.parametrize(
    ("height", "width", "canvas", "place"),
    [
        (544, 544, (544, 544), (16, 16, 512, 512)),
        (400, 400, (544, 544), (16, 16, 512, 512)),
        (240, 320, (416, 544), (16, 16, 512, 384)),
        (100, 300, (192, 544), (16, 10, 512, 171)),
    ],
)
def test_the_validators_canvas(height, width, canvas, place):
    """At 512 px the long side is scaled to 512 and lies, centred, on half a stride more, in multiples of 32."""
    mounted = mount_as_validator(np.zeros((height, width, 3), np.uint8), 512)
    assert validator_side_px(512) == 544
    assert (mounted.frame.height, mounted.frame.width) == canvas
    assert (mounted.left, mounted.top, mounted.width, mounted.height) == place
    view = mounted.frame.view(canvas[1], canvas[0])
    assert (view[0, 0] == 114).all()
    assert (view[mounted.top, mounted.left] == 0).all()
    whole = boxes([0, 0, 1, 1])
    inner = boxes([mounted.left, mounted.top, mounted.left + mounted.width, mounted.top + mounted.height])
    sides = np.array([canvas[1], canvas[0]] * 2)
    assert np.allclose(mounted.to_picture((inner / sides).astype(np.float32)), whole, atol=1e-5)


def test_tables_by_height_follow_the_largest_thing():
    """A picture counts where its largest box does; each box where its own height says."""
    labels = [boxes([0.2, 0.2, 0.6, 0.6], [0, 0, 0.1, 0.05]), boxes([0, 0, 0.1, 0.05])]
    matches = match(labels, [labels[0][:1], boxes()], [np.array([0.9]), np.array([])])
    scores = Scores(np.array([0.9, 0.0]), np.array([True, True]))
    small, medium, large = by_height("fire", matches, scores, threshold=0.5)
    assert (small.boxes, small.pictures) == (Share(0, 2), Share(0, 1))
    assert medium.boxes == Share(0, 0)
    assert (large.boxes, large.pictures) == (Share(1, 1), Share(1, 1))


def test_many_negatives_are_no_burden():
    """With ten thousand negatives thresholds and curves are still chosen from a bounded number of candidates."""
    rng = np.random.default_rng(0)
    shows = np.arange(10_100) < 100
    score = np.where(shows, rng.uniform(0.5, 1.0, 10_100), rng.beta(1, 6, 10_100))
    scores = {"fire": Scores(score, shows), "smoke": Scores(score[::-1], shows[::-1])}
    negative = ~(shows | shows[::-1])
    chosen = choose_thresholds(scores, negative)
    assert int(claimed_at(scores, negative, chosen).sum()) <= negative.sum() // 40
    assert len(recall_by_claims(scores["fire"], negative)) == 200
