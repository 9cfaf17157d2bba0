# SPDX-License-Identifier: AGPL-3.0-or-later
"""The environment of the tests that need torch: one OpenCV, the pinned torch, and a stub that suppresses as it should."""

import os
from importlib.metadata import distributions, version
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.torch


def test_it_is_the_pinned_torch():
    """What the tests ran with is what requirements/torch.in says."""
    pins = (ROOT / "requirements/torch.in").read_text("utf-8").split()
    assert f"torch=={version('torch').partition('+')[0]}" in pins


def test_only_the_headless_opencv_is_there():
    """Ultralytics brought no second OpenCV that would overwrite ours."""
    names = {(one.metadata["Name"] or "").lower() for one in distributions()}
    assert sorted(name for name in names if name.startswith("opencv")) == ["opencv-python-headless"]
    assert "ultralytics-platform" not in names


def overlap(one: np.ndarray, many: np.ndarray) -> np.ndarray:
    corner = np.maximum(one[:2], many[:, :2])
    sides = np.clip(np.minimum(one[2:], many[:, 2:]) - corner, 0, None)
    area = sides.prod(axis=1)
    return area / ((one[2:] - one[:2]).prod() + (many[:, 2:] - many[:, :2]).prod(axis=1) - area)


def suppressed(boxes: np.ndarray, scores: np.ndarray, threshold: float) -> list[int]:
    kept: list[int] = []
    for at in np.argsort(-scores):
        if not kept or overlap(boxes[at], boxes[kept]).max() <= threshold:
            kept.append(int(at))
    return kept


@pytest.mark.parametrize("count", [0, 1, 300])
def test_the_stub_suppresses_as_the_definition_says(count):
    """Boxes stay by falling score unless they overlap a better one by more than the threshold."""
    import torch
    import torchvision

    rng = np.random.default_rng(count)
    corner = rng.uniform(0, 200, (count, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(20, 120, (count, 2))], axis=1).astype(np.float32)
    scores = rng.permutation(count).astype(np.float32) / max(count, 1)
    kept = torchvision.ops.nms(torch.from_numpy(boxes), torch.from_numpy(scores), 0.5)
    assert kept.tolist() == suppressed(boxes, scores, 0.5)


def test_boxes_of_different_groups_do_not_suppress_each_other():
    """Two equal boxes of two classes both stay."""
    import torch
    import torchvision

    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10], [1, 0, 10, 10]])
    scores = torch.tensor([0.9, 0.8, 0.7])
    kept = torchvision.ops.batched_nms(boxes, scores, torch.tensor([0, 1, 0]), 0.5)
    assert sorted(kept.tolist()) == [0, 1]


def test_ultralytics_stays_offline_and_out_of_the_home_folder():
    """It reads the settings that the scripts export: no reports, its files beside the environment."""
    if os.environ.get("YOLO_OFFLINE") != "true":
        pytest.skip("the scripts set YOLO_OFFLINE and YOLO_CONFIG_DIR; this run was started without them")
    from ultralytics.utils import ONLINE, USER_CONFIG_DIR

    assert not ONLINE
    assert ROOT / ".venv-torch" in Path(USER_CONFIG_DIR).parents
