# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whether two contestants found the same boxes. Knows nothing of truth: both may be wrong together."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.float32]  # (N, 6): x1 y1 x2 y2 in parts of the picture, confidence, our class id

MATCHES_FROM = 0.5  # IoU


@dataclass(frozen=True, slots=True)
class Agreement:
    """How two contestants' boxes of the same pictures compare.

    Attributes:
        mean_iou, least_iou: of matched boxes; None where none matched.
        matched, only_first, only_second: boxes.
        confidence: mean absolute difference on matched boxes.
    """

    mean_iou: float | None
    least_iou: float | None
    matched: int
    only_first: int
    only_second: int
    confidence: float | None


def compare(first: Sequence[Boxes], second: Sequence[Boxes]) -> Agreement:
    """Match boxes of the same class, picture by picture, best pair first, each box once, from IoU 0.5."""
    overlaps: list[float] = []
    confidences: list[float] = []
    for one, other in zip(first, second, strict=True):
        for here, there, overlap in _pairs(one, other):
            overlaps.append(overlap)
            confidences.append(abs(float(one[here, 4] - other[there, 4])))
    return Agreement(
        round(float(np.mean(overlaps)), 4) if overlaps else None,
        round(min(overlaps), 4) if overlaps else None,
        len(overlaps),
        sum(map(len, first)) - len(overlaps),
        sum(map(len, second)) - len(overlaps),
        round(float(np.mean(confidences)), 4) if confidences else None,
    )


def _pairs(one: Boxes, other: Boxes) -> list[tuple[int, int, float]]:
    overlaps = np.where(one[:, None, 5] == other[None, :, 5], _overlaps(one[:, :4], other[:, :4]), 0)
    pairs = []
    while overlaps.size and overlaps.max() >= MATCHES_FROM:
        here, there = np.unravel_index(int(overlaps.argmax()), overlaps.shape)
        pairs.append((int(here), int(there), float(overlaps[here, there])))
        overlaps[here, :] = overlaps[:, there] = 0
    return pairs


def _overlaps(one: Boxes, other: Boxes) -> NDArray[np.float64]:
    """Return IoU (N, M)."""
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2, dtype=np.float64)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1, dtype=np.float64) for boxes in (one, other)]
    return shared / np.maximum(areas[0][:, None] + areas[1][None, :] - shared, 1e-12)
