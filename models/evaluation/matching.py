# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which box of the network is which labelled box, at IoU 0.5."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gridwatch.core.geometry import Float32

LEAST_IOU = 0.5
_TINY = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class Matches:
    """All boxes of one class over a split, by falling confidence, and all labels.

    Attributes:
        confidence: (N,) of the boxes.
        hit: (N,) whether a box took a label.
        picture: (N,) in which picture (index) a box lies.
        label_picture: (L,) in which picture a label lies.
        label_height: (L,) its height as a share of the picture's.
        label_found: (L,) the confidence of the box that took it, 0 where none did. Boxes are taken by falling
            confidence, so what a higher threshold finds are the labels whose value reaches it.
        pictures: how many pictures there are.
    """

    confidence: NDArray[np.float64]
    hit: NDArray[np.bool_]
    picture: NDArray[np.int64]
    label_picture: NDArray[np.int64]
    label_height: NDArray[np.float64]
    label_found: NDArray[np.float64]
    pictures: int


def iou(first: Float32, second: Float32) -> NDArray[np.float64]:
    """Return the IoU (N, M) of boxes (N, 4) and (M, 4), both xyxy in the same coordinates.

    Normalised coordinates serve: scaling an axis changes no ratio of areas.
    """
    a, b = first.astype(np.float64)[:, None], second.astype(np.float64)[None]
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    both = np.clip(sides, 0, None).prod(axis=2)
    areas = [(boxes[..., 2:] - boxes[..., :2]).prod(axis=2) for boxes in (a, b)]
    return np.asarray(both / (areas[0] + areas[1] - both + _TINY), np.float64)


def take_labels(overlaps: NDArray[np.float64], least: float = LEAST_IOU) -> NDArray[np.int64]:
    """Return for each box (N,) the label that it takes, -1 for none; `overlaps` (N, L), boxes by falling confidence.

    The rule of Ultralytics' validator: each box in turn takes the free label that it overlaps most, if by at least
    `least`.
    """
    taken = np.full(len(overlaps), -1, np.int64)
    if overlaps.shape[1] == 0:
        return taken
    free = np.ones(overlaps.shape[1], np.bool_)
    for box in np.flatnonzero((overlaps >= least).any(axis=1)):
        open_to_it = np.where(free, overlaps[box], 0.0)
        label = int(open_to_it.argmax())
        if open_to_it[label] >= least:
            taken[box], free[label] = label, False
    return taken


def match(
    labels: Sequence[Float32], boxes: Sequence[Float32], confidences: Sequence[NDArray[np.floating]]
) -> Matches:
    """Match one class over all pictures.

    Args:
        labels: per picture, the labelled boxes (L, 4).
        boxes: per picture, the network's (N, 4), by falling confidence, in the same coordinates.
        confidences: per picture, theirs (N,).
    """
    hits, found = [], []
    for label, box, confidence in zip(labels, boxes, confidences, strict=True):
        taken = take_labels(iou(box, label))
        by_label = np.zeros(len(label))
        by_label[taken[taken >= 0]] = confidence[taken >= 0]
        hits.append(taken >= 0)
        found.append(by_label)
    values = np.concatenate([*confidences, np.zeros(0)]).astype(np.float64)
    order = np.argsort(-values, kind="stable")
    all_labels = np.concatenate([*labels, np.zeros((0, 4), np.float32)])
    return Matches(
        confidence=values[order],
        hit=np.concatenate([*hits, np.zeros(0, np.bool_)])[order],
        picture=_index(boxes)[order],
        label_picture=_index(labels),
        label_height=(all_labels[:, 3] - all_labels[:, 1]).astype(np.float64),
        label_found=np.concatenate([*found, np.zeros(0)]),
        pictures=len(labels),
    )


def _index(items: Sequence[Float32]) -> NDArray[np.int64]:
    return np.repeat(np.arange(len(items)), [len(item) for item in items])
