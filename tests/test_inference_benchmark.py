# SPDX-License-Identifier: AGPL-3.0-or-later
"""What `scripts/bench inference` computes from its measurements; the measurements themselves need torch and minutes."""

import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch):
    """Have the benchmark's own modules at hand, as its script has."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield
    for name in [name for name in sys.modules if name.split(".")[0] in {"contest", "inference"}]:
        del sys.modules[name]


def boxes(*rows):
    return np.array(rows, np.float32).reshape(-1, 6)


def test_equal_boxes_agree_whatever_their_order():
    """The same boxes in another order match one to one, with overlap 1."""
    from contest.agreement import compare

    one = boxes((0, 0, 0.5, 0.5, 0.9, 0), (0.2, 0.2, 0.9, 0.9, 0.8, 2))
    found = compare([one], [one[::-1]])
    assert (found.mean_iou, found.matched, found.only_first, found.only_second) == (1.0, 2, 0, 0)
    assert found.confidence == 0


def test_a_box_of_another_class_or_place_is_no_match():
    """What only one of the two found is counted, not averaged away."""
    from contest.agreement import compare

    one = boxes((0, 0, 0.5, 0.5, 0.9, 0), (0.6, 0.6, 0.9, 0.9, 0.9, 0))
    other = boxes((0, 0, 0.5, 0.5, 0.9, 2), (0.6, 0.6, 0.9, 0.81, 0.7, 0))
    found = compare([one], [other])
    assert (found.matched, found.only_first, found.only_second) == (1, 1, 1)
    assert found.mean_iou == pytest.approx(0.7, abs=1e-3)
    assert found.confidence == pytest.approx(0.2, abs=1e-3)


def test_nothing_found_is_no_agreement():
    """Two contestants that found nothing did not show that they agree."""
    from contest.agreement import compare

    assert compare([boxes()], [boxes()]).mean_iou is None


def test_a_ratio_is_of_turns_side_by_side():
    """A slow round slows both: the ratio of each round counts, not that of the medians."""
    from contest.arena import Score, ratio

    assert ratio(Score([30, 15, 60]), Score([10, 5, 20])) == pytest.approx(3)


def test_what_is_asked_depends_on_the_cpu():
    """AVX-512 with VNNI is asked for more; a run that was held to AVX2 is not."""
    from contest import machine

    features = {"avx512": True, "vnni": True}
    assert machine.asked_of({"features": features, "held_to": {}}) == 3.2
    assert machine.asked_of({"features": features, "held_to": {"ONEDNN_MAX_CPU_ISA": "AVX2"}}) == 2.0
    assert machine.asked_of({"features": {**features, "vnni": False}, "held_to": {}}) == 2.0


def test_names_of_contestants_differ():
    """Figures of two contestants never land under one name."""
    from contest.contestants import Spec

    from gridwatch.core.detections import Part

    specs = [
        Spec("predict", "pt", "f32"),
        Spec("predict", "pt", "f32", variant="one_thread"),
        Spec("gridwatch", "openvino", "int8"),
        Spec("own", "", "", frozenset(Part)),
        Spec("own", "", "", frozenset({Part.PEOPLE, Part.CROWD})),
    ]
    names = [spec.name for spec in specs]
    assert len(set(names)) == len(names)
    assert names[-1] == "own_crowd_people"


def result_of(pt: float, openvino: float, share: float, iou: float | None):
    return {
        "vs_predict_pt": {"gridwatch_openvino_f32": 9.0, "gridwatch_openvino_int8": pt},
        "vs_predict_openvino": {"f32": 9.0, "int8": openvino},
        "engine_share": {"openvino_f32": 1.0, "openvino_int8": share},
        "agreement": {"openvino_f32": {"mean_iou": iou}},
        "equal_inputs": True,
    }


def test_the_headline_is_the_worst_that_was_measured():
    """One shape that falls short makes the figure fall short."""
    import inference

    about = {"features": {"avx512": True, "vnni": True}, "held_to": {}}
    shapes = {"a": result_of(3.4, 1.5, 0.95, 1.0), "b": result_of(3.1, 1.3, 0.89, 0.97)}
    found = inference.headline(shapes, {"p99_age_ratio": 0.5, "jain": 0.99}, about, short=False)
    assert [found[name] for name in ("vs_predict_pt", "vs_predict_openvino", "engine_share", "mean_iou")] == [
        3.1, 1.3, 0.89, 0.97,
    ]  # fmt: skip
    assert [name for name, met in found["met"].items() if not met] == [
        "vs_predict_pt", "vs_predict_openvino", "engine_share", "mean_iou",
    ]  # fmt: skip


def test_what_a_run_cannot_judge_it_does_not_claim():
    """Random weights find nothing to compare; a short run gives a camera too few looks for fairness."""
    import inference

    about = {"features": {"avx512": False, "vnni": False}, "held_to": {}}
    shapes = {"a": result_of(2.1, 1.5, 0.95, None)}
    found = inference.headline(shapes, {"p99_age_ratio": 0.5, "jain": 0.5}, about, short=True)
    assert found["mean_iou"] is None
    assert found["met"]["mean_iou"] is None
    assert found["met"]["jain"] is None
    assert found["met"]["vs_predict_pt"]
