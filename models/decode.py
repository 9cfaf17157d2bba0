# SPDX-License-Identifier: AGPL-3.0-or-later
"""From the network's raw numbers to boxes of one look. Decides nothing: detectors do that over time."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from gridwatch.core.detections import ObjectClass
from gridwatch.core.geometry import Float32

# Low on purpose: weak boxes that recur are evidence, and the look log keeps them to be judged again.
LEAST_CONFIDENCE = 0.10
# People and vehicles overlap in queues and crowds: what overlaps by less is two of them.
OVERLAP_SOLID = 0.6
# Flames and smoke have no outline; boxes of one fire agree less, and no count depends on them.
OVERLAP_FIRE = 0.5
MOST_BOXES = 300
# A picture full of texture may light thousands of anchors; NMS is quadratic, and the strongest come first.
MOST_CANDIDATES = 3000

_BOX_ROWS = 4
_FIRST_FIRE = int(ObjectClass.FIRE)


@dataclass(frozen=True, slots=True, eq=False)
class Boxes:
    """Boxes by falling confidence: `xyxy` (N, 4) input pixels, `confidence` (N,), `class_id` (N,)."""

    xyxy: Float32
    confidence: Float32
    class_id: NDArray[np.int64]


def decode(raw: Float32, least_confidence: float = LEAST_CONFIDENCE) -> Boxes:
    """Return at most 300 boxes of `raw` (12, A), after suppression per class.

    Of the first A/2 anchors (people and vehicles) each gives its best class only: a van is a car or a truck. Of the
    last A/2 each may give fire and smoke: flames stand in their smoke.
    """
    half = raw.shape[1] // 2
    solid = _best(raw[:, :half], least_confidence)
    fire = _both(raw[:, half:], least_confidence)
    kept = [_suppress(solid, OVERLAP_SOLID), _suppress(fire, OVERLAP_FIRE)]
    return _strongest(
        Boxes(
            np.concatenate([boxes.xyxy for boxes in kept]),
            np.concatenate([boxes.confidence for boxes in kept]),
            np.concatenate([boxes.class_id for boxes in kept]),
        ),
        MOST_BOXES,
    )


def _best(anchors: Float32, least: float) -> Boxes:
    scores = anchors[_BOX_ROWS : _BOX_ROWS + _FIRST_FIRE]
    best = scores.max(axis=0)
    at = np.flatnonzero(best >= least)
    return Boxes(_corners(anchors[:_BOX_ROWS, at]), best[at], scores[:, at].argmax(axis=0))


def _both(anchors: Float32, least: float) -> Boxes:
    scores = anchors[_BOX_ROWS + _FIRST_FIRE :]
    class_id, at = np.nonzero(scores >= least)
    return Boxes(_corners(anchors[:_BOX_ROWS, at]), scores[class_id, at], class_id + _FIRST_FIRE)


def _corners(cxcywh: Float32) -> Float32:
    centre, half = cxcywh[:2].T, cxcywh[2:].T / 2
    return np.concatenate([centre - half, centre + half], axis=1)


def _suppress(boxes: Boxes, overlap: float) -> Boxes:
    boxes = _strongest(boxes, MOST_CANDIDATES)
    if len(boxes.confidence) == 0:
        return boxes
    xywh = boxes.xyxy.astype(np.float64)
    xywh[:, 2:] -= xywh[:, :2]
    suppress: Any = cv2.dnn.NMSBoxesBatched  # its stub knows only sequences; arrays spare a copy to a list
    kept = suppress(xywh, boxes.confidence, boxes.class_id.astype(np.int32), 0.0, overlap)
    return _take(boxes, np.asarray(kept, np.int64).reshape(-1))


def _strongest(boxes: Boxes, most: int) -> Boxes:
    return _take(boxes, np.argsort(-boxes.confidence, kind="stable")[:most])


def _take(boxes: Boxes, at: NDArray[np.int64]) -> Boxes:
    return Boxes(boxes.xyxy[at], boxes.confidence[at], boxes.class_id[at])
