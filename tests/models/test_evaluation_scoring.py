# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whole evaluations against a network that says what a test tells it to."""

import json
import re
from dataclasses import replace

import cv2
import numpy as np
import pytest

from gridwatch.core.detections import Detections, ObjectClass, Part
from gridwatch.core.errors import InputError
from models.errors import InferenceError, PictureError
from models.evaluation.alarms import Share
from models.evaluation.counting import CountSample, CountSet, score_counts
from models.evaluation.datasets import Dataset, Sample
from models.evaluation.report import write_boxes_report, write_counts_report
from models.evaluation.scoring import Spec, looks_needed, score_boxes
from models.evaluation.written import Ran, boxes_json, counts_json

FIRE, SMOKE, CAR, TRUCK = ObjectClass.FIRE, ObjectClass.SMOKE, ObjectClass.CAR, ObjectClass.TRUCK
BOX = (0.25, 0.25, 0.75, 0.75)
PERFECT = pytest.approx(0.995)  # the most that this definition gives: it falls to 0 at recall 1
RAN = Ran("told", "0" * 64, "nothing")


class Told:
    """Answers by the grey of a picture's middle: what a test wrote down for it, in coordinates of the picture."""

    def __init__(self, answers):
        self.answers = answers
        self.asked = []

    def detect(self, frame, *, parts):
        self.asked.append(parts)
        view = frame.view(frame.width, frame.height)
        grey = int(view[frame.height // 2, frame.width // 2, 0])
        answer = self.answers[grey]
        if answer is None:
            raise InferenceError("told so")
        if isinstance(answer, float):
            return replace(Detections.none(), density=np.full((2, 2), answer / 4, np.float32))
        # The picture lies in the middle of what may be the validator's canvas: 64 of 96 pixels.
        inner = 64 / frame.width
        rows = sorted(answer, key=lambda row: -row[1])
        xyxy = np.array([row[2] for row in rows], np.float32).reshape(-1, 4) * inner + (1 - inner) / 2
        confidence = np.array([row[1] for row in rows], np.float32)
        return Detections(
            xyxy, confidence, np.array([row[0] for row in rows], np.int64), np.full_like(confidence, np.nan)
        )


@pytest.fixture
def split(tmp_path):
    """Return a maker of splits of square pictures, 64 px, each of its own grey, with the boxes it is told."""

    def make(name, *labelled, classes=(FIRE, SMOKE), first=0, groups=None):
        samples = []
        for at, boxes in enumerate(labelled):
            file = tmp_path / f"{name}-{at}.png"
            cv2.imwrite(str(file), np.full((64, 64, 3), first + at, np.uint8))
            samples.append(
                Sample(
                    file,
                    np.array([box for _, box in boxes], np.float32).reshape(-1, 4),
                    np.array([kind for kind, _ in boxes], np.int64),
                    groups[at] if groups else file.name,
                    "a <b>note</b>",
                )
            )
        return Dataset(tmp_path, name, frozenset(classes), tuple(samples), groups is not None)

    return make


def scored(test, choose, answers, **spec):
    return score_boxes(test, choose, lambda _: Told(answers), Spec((64,), **spec))


def test_a_perfect_network_has_no_faults(split):
    """Each box where it is labelled and nothing else: precision 1, all pictures found, no negative claimed."""
    test = split("test", [(FIRE, BOX)], [(SMOKE, BOX)], [], [])
    val = split("val", [(FIRE, BOX)], [(SMOKE, BOX)], [], first=4)
    answers = {0: [(FIRE, 0.9, BOX)], 1: [(SMOKE, 0.9, BOX)], 2: [], 3: []}
    answers |= {4: answers[0], 5: answers[1], 6: []}
    size = scored(test, val, answers).sizes[0]
    assert [(one.name, one.ap50, one.ap50_product, one.found) for one in size.classes] == [
        ("fire", PERFECT, PERFECT, Share(1, 1)),
        ("smoke", PERFECT, PERFECT, Share(1, 1)),
    ]
    assert size.claimed == Share(0, 2)
    assert size.failures == ()


def test_failures_are_told_and_shown(split, tmp_path):
    """A missed fire and a claimed negative are counted, named and drawn; the threshold is val's, not test's."""
    test = split("test", [(FIRE, BOX)], [(FIRE, BOX)], [], [], first=0)
    val = split("val", [(FIRE, BOX)], [], first=4)
    answers = {
        0: [(FIRE, 0.9, BOX)],
        1: [(FIRE, 0.2, BOX)],
        2: [(FIRE, 0.5, BOX)],
        3: [],
        4: [(FIRE, 0.6, BOX)],
        5: [(FIRE, 0.3, BOX)],
    }
    scores = scored(test, val, answers)
    size = scores.sizes[0]
    assert 0.3 < size.classes[0].threshold < 0.30001
    assert size.classes[0].found == Share(1, 2)
    assert size.claimed == Share(1, 2)
    assert [(one.what, one.sample.file.name) for one in size.failures] == [
        ("fire", "test-1.png"),
        ("", "test-2.png"),
    ]
    page = write_boxes_report(scores, RAN, tmp_path / "report").read_text("utf-8")
    assert "Missed fire: 1 of 1" in page
    assert "Claimed negatives: 1 of 1" in page


def test_what_the_json_says(split):
    """The JSON has the keys that are documented, and says which split chose the threshold."""
    test, val = split("test", [(FIRE, BOX)], []), split("val", [(FIRE, BOX)], [], first=2)
    answers = {0: [(FIRE, 0.9, BOX)], 1: [(FIRE, 0.4, BOX)], 2: [(FIRE, 0.9, BOX)], 3: []}
    result = json.loads(json.dumps(boxes_json(scored(test, val, answers), RAN), allow_nan=False))
    fire = result["classes"]["fire"]
    assert fire["ap50"] == PERFECT
    assert fire["ci95"][0] <= fire["ap50"] <= fire["ci95"][1]
    assert fire["recall_at_1pct_negatives"] == 1.0
    assert result["negatives"] == {"images": 2 - 1, "claimed": 1, "ci95": result["negatives"]["ci95"]}
    assert result["operating_point"]["chosen_on"] == "val"
    assert result["network"]["sha256"] == RAN.sha256
    assert result["size_px"] == 64


def test_a_page_stands_alone_and_escapes_what_it_is_given(split, tmp_path):
    """The page loads nothing from elsewhere, names pictures that are there, and shows the manifest's words as text."""
    test = split("test", [(FIRE, BOX)], [])
    scores = scored(test, test, {0: [], 1: [(FIRE, 0.4, BOX)]})
    page = write_boxes_report(scores, RAN, tmp_path / "report")
    text = page.read_text("utf-8")
    assert "http://" not in text
    assert "https://" not in text
    assert "<b>note</b>" not in text
    pictures = re.findall(r'<img src="([^"]+)"', text)
    assert pictures
    assert all(cv2.imread(str(page.parent / name)) is not None for name in pictures)


def test_without_negatives_to_choose_on_no_threshold_is_claimed(split):
    """Without another split no operating point is made up: `claimed` is null, and a note says why."""
    test = split("test", [(FIRE, BOX)], [])
    result = boxes_json(scored(test, None, {0: [(FIRE, 0.9, BOX)], 1: []}), RAN)
    assert result["negatives"]["claimed"] is None
    assert result["operating_point"] == {"chosen_on": None, "thresholds": {}}
    assert any("no split with negatives" in note for note in result["notes"])


def test_a_picture_without_an_answer_is_no_success(split, tmp_path):
    """A look that failed found nothing, and is counted."""
    test = split("test", [(FIRE, BOX)], [(FIRE, BOX)], [])
    scores = scored(test, None, {0: [(FIRE, 0.9, BOX)], 1: None, 2: []})
    size = scores.sizes[0]
    assert size.unanswered == 1
    assert size.classes[0].found == Share(1, 2)
    assert any("no answer for 1 of 3 pictures" in note and "test-1.png" in note for note in scores.notes)
    assert "Without an answer: 1;" in write_boxes_report(scores, RAN, tmp_path / "report").read_text("utf-8")


def test_a_picture_too_small_to_show_anything_is_no_crash(split):
    """One pixel is named as a picture without an answer, on both canvases; all others are scored."""
    test = split("test", [(FIRE, BOX)], [])
    cv2.imwrite(str(test.samples[1].file), np.full((1, 1, 3), 1, np.uint8))
    told = Told({0: [(FIRE, 0.9, BOX)]})
    scores = score_boxes(test, None, lambda _: told, Spec((64,)))
    assert scores.sizes[0].unanswered == 1
    assert any("test-1.png (the first: a picture of 1 × 1 pixels" in note for note in scores.notes)


@pytest.mark.parametrize("broken", ["test", "val"])
def test_a_network_that_never_answers_is_an_error(split, broken):
    """Nothing but failed looks is no score of zero, on the scored split or on the one that chooses."""
    test, val = split("test", [(FIRE, BOX)], []), split("val", [(FIRE, BOX)], [], first=2)
    fine = [(FIRE, 0.9, BOX)]
    answers = {0: None, 1: None, 2: fine, 3: []} if broken == "test" else {0: fine, 1: [], 2: None, 3: None}
    with pytest.raises(InputError, match=f"answered for none of the 2 pictures, split '{broken}'.*told so"):
        scored(test, val, answers)


def test_what_the_network_does_not_tell_is_not_scored(split):
    """A class that it cannot see has no AP of zero but a note; if nothing is left that is an error."""
    test = split("test", [(FIRE, BOX), (CAR, BOX)], [], classes=(FIRE, CAR))
    scores = scored(test, None, {0: [(CAR, 0.9, BOX)], 1: []}, tells=frozenset({CAR}))
    assert [one.name for one in scores.sizes[0].classes] == ["car"]
    assert "this network does not tell fire: not scored" in scores.notes
    with pytest.raises(InputError, match="this network does not tell car, fire"):
        scored(test, None, {}, tells=frozenset({SMOKE}))


def test_thresholds_are_not_chosen_on_what_is_scored(split):
    """The same pictures under whatever name give no operating point, and a note says why."""
    test = split("test", [(FIRE, BOX)], [])
    scores = scored(test, replace(test, split="val"), {0: [(FIRE, 0.9, BOX)], 1: []})
    assert scores.chosen_on is None
    assert scores.sizes[0].claimed is None
    assert any("not chosen on pictures that are scored" in note for note in scores.notes)


def test_the_looks_that_are_told_are_those_that_are_taken(split):
    """The bar fills: people are scored without a split to choose on, fires with it, at every size."""
    for kind in (CAR, FIRE):
        test = split("test", [(kind, BOX)], [], classes=(kind,))
        val = split("val", [(kind, BOX)], [], [], first=2, classes=(kind,))
        steps, spec = [], Spec((64, 96))
        told = Told({grey: [] for grey in range(5)})
        score_boxes(test, val, lambda _, told=told: told, spec, lambda steps=steps: steps.append(1))
        assert len(steps) == looks_needed(test, val, spec) == 2 * (4 + 3 * (kind is FIRE))


def test_any_vehicle_forgives_the_kind_but_not_a_second_box(split):
    """A car that is seen as truck and as car is one vehicle found, and no false one."""
    test = split("cam", [(CAR, BOX)], classes=(CAR, TRUCK, ObjectClass.PERSON))
    scores = scored(test, None, {0: [(TRUCK, 0.9, BOX), (CAR, 0.5, BOX)]})
    found = {one.name: one for one in scores.sizes[0].classes}
    assert set(found) == {"car", "any_vehicle"}
    assert len(found["any_vehicle"].curve.recall) == 1
    assert found["any_vehicle"].ap50 == PERFECT
    assert found["any_vehicle"].at_one_percent is None
    assert any("not scored: person, truck" in note for note in scores.notes)


def test_only_what_was_asked_for_is_scored(split):
    """`only` names what can be trusted; a name without labels is an error that lists what is labelled."""
    test = split("cam", [(CAR, BOX)], classes=(CAR, TRUCK))
    scores = scored(test, None, {0: []}, only=("any_vehicle",))
    assert [one.name for one in scores.sizes[0].classes] == ["any_vehicle"]
    with pytest.raises(InputError, match="labelled are: car, any_vehicle"):
        scored(test, None, {0: []}, only=("fire",))


def test_only_the_needed_parts_are_asked_for(split):
    """A set of fire and smoke asks the network for nothing else, once for each canvas and picture."""
    test, told = split("test", [(FIRE, BOX)], []), Told({0: [], 1: []})
    spec, steps = Spec((64,), threads=2), []
    score_boxes(test, test, lambda _: told, spec, lambda: steps.append(1))
    assert set(told.asked) == {frozenset({Part.FIRE})}
    assert len(told.asked) == len(steps) == looks_needed(test, test, spec) == 4


def test_sizes_stand_beside_the_main_one(split):
    """With several sizes the first is the main block, the others lie under `sizes`; the network opens at each."""
    opened = []
    test = split("test", [(FIRE, BOX)], [])

    def open_at(size_px):
        opened.append(size_px)
        return Told({0: [(FIRE, 0.9, BOX)], 1: []})

    result = boxes_json(score_boxes(test, test, open_at, Spec((64, 128))), RAN)
    assert result["size_px"] == 64
    assert list(result["sizes"]) == ["128"]
    assert opened == [64, 96, 128, 160]


def counted(tmp_path, told, *persons):
    samples = []
    for at, number in enumerate(persons):
        file = tmp_path / f"c{at}.png"
        cv2.imwrite(str(file), np.full((64, 64, 3), at, np.uint8))
        samples.append(CountSample(file, number, "dense" if number > 50 else "light"))
    return score_counts(CountSet(tmp_path, "test", tuple(samples)), Told(told), 64)


def test_counting_errors_by_kind_of_scene(tmp_path):
    """Dense and light scenes are scored apart: mean relative and absolute error, and the sums."""
    scores = counted(tmp_path, {0: 150.0, 1: 180.0, 2: 12.0}, 100, 200, 10)
    dense, light = scores.groups
    assert (dense.name, dense.true_sum, dense.counted_sum) == ("dense", 300, 330)
    assert dense.mean_relative_error == pytest.approx((0.5 + 0.1) / 2)
    assert dense.mean_absolute_error == pytest.approx(35)
    assert light.mean_absolute_error == pytest.approx(2)
    result = json.loads(json.dumps(counts_json(scores, RAN), allow_nan=False))
    assert result["counting"]["light"]["mean_relative_error"] == pytest.approx(0.2)
    assert "dense" in write_counts_report(scores, RAN, tmp_path / "report").read_text("utf-8")


def test_a_picture_that_was_not_counted_is_a_whole_error(tmp_path):
    """A failed look counts nobody and is told; scenes without persons have no relative error."""
    scores = counted(tmp_path, {0: None, 1: 1.0}, 10, 0)
    (light,) = scores.groups
    assert scores.unanswered == 1
    assert "c0.png" in scores.notes[0]
    assert "c0.png (the first" in write_counts_report(scores, RAN, tmp_path / "report").read_text("utf-8")
    assert light.mean_relative_error == pytest.approx(1.0)
    assert light.mean_absolute_error == pytest.approx(5.5)


def test_a_network_without_a_counter_is_named(tmp_path):
    """Without a density nothing is scored on counts, and the error says so."""
    with pytest.raises(InputError, match="no crowd counter"):
        counted(tmp_path, {0: []}, 10)


def test_a_picture_too_small_to_count_in_is_named(tmp_path):
    """One pixel counts nobody; a network that never answers is an error here too."""

    class Strict:
        def detect(self, frame, *, parts):
            raise PictureError(f"a picture of {frame.width} pixels shows nothing {parts}")

    samples = (CountSample(tmp_path / "small.png", 3, "light"),)
    cv2.imwrite(str(samples[0].file), np.zeros((1, 1, 3), np.uint8))
    with pytest.raises(
        InputError, match=r"answered for none of the 1 pictures.*small\.png: a picture of 1 pixels"
    ):
        score_counts(CountSet(tmp_path, "test", samples), Strict(), 64)
