# SPDX-License-Identifier: AGPL-3.0-or-later
"""From the network's raw numbers to boxes of one look. Decides nothing: detectors do that over time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from gridwatch.core.detections import ObjectClass, Part
from gridwatch.core.geometry import Float32

# Low on purpose: weak boxes that recur are evidence, and the look log keeps them to be judged again.
LEAST_CONFIDENCE = 0.10
# People and vehicles overlap in queues and crowds: what overlaps by less is two of them.
OVERLAP_SOLID = 0.6
# Flames and smoke have no outline; boxes of one fire agree less, and no count depends on them.
OVERLAP_FIRE = 0.5
# Of people and vehicles, and as many of fire and smoke: a full square must not push a fire out of a look.
MOST_BOXES = 300
# A picture full of texture may light thousands of anchors; NMS is quadratic, and the strongest come first.
MOST_CANDIDATES = 3000

_BOX_ROWS = 4
_NO_BOX = np.zeros((0, 4), np.float32)
_NO_ID = np.zeros(0, np.int64)
_Rows: TypeAlias = slice | NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Boxes:
    """Boxes by falling confidence: `xyxy` (N, 4) input pixels, `confidence` (N,), `class_id` (N,)."""

    xyxy: Float32
    confidence: Float32
    class_id: NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class ClassMap:
    """Where one head's answer (4 + C, A) tells which classes: rows and, for each row, its class id.

    Attributes:
        height: how many rows the answer must have.
        solid_rows, solid_ids: people and vehicles, of which an anchor has one.
        fire_rows, fire_ids: fire and smoke, of which an anchor may have both.
    """

    height: int
    solid_rows: _Rows
    solid_ids: NDArray[np.int64]
    fire_rows: _Rows
    fire_ids: NDArray[np.int64]

    @classmethod
    def of(cls, columns: Mapping[ObjectClass, int], count: int, parts: frozenset[Part]) -> "ClassMap":
        """Return the map of a head with `count` score columns, for the classes that belong to `parts`."""
        told = sorted((column, kind) for kind, column in columns.items() if Part.of(kind) in parts)
        solid = [(column, kind) for column, kind in told if Part.of(kind) is Part.PEOPLE]
        fire = [(column, kind) for column, kind in told if Part.of(kind) is Part.FIRE]
        return cls(_BOX_ROWS + count, _rows(solid), _ids(solid), _rows(fire), _ids(fire))


def _rows(told: list[tuple[int, ObjectClass]]) -> _Rows:
    rows = [_BOX_ROWS + column for column, _ in told]
    if rows and rows[-1] - rows[0] == len(rows) - 1:
        return slice(rows[0], rows[-1] + 1)  # a view in place of a copy
    return np.array(rows, np.int64)


def _ids(told: list[tuple[int, ObjectClass]]) -> NDArray[np.int64]:
    return np.array([kind for _, kind in told], np.int64)


@dataclass(frozen=True, slots=True)
class Reading:
    """How answers are read.

    Attributes:
        least_confidence: boxes below it are dropped, 0 to 1.
        overlap_solid, overlap_fire: IoU from which of two boxes of one class the weaker goes.
        every_class: an anchor of people and vehicles gives every class that reaches `least_confidence`, not its best
            alone: as detectors are scored, not as they are used.
    """

    least_confidence: float = LEAST_CONFIDENCE
    overlap_solid: float = OVERLAP_SOLID
    overlap_fire: float = OVERLAP_FIRE
    every_class: bool = False


def decode(heads: Sequence[tuple[Float32, ClassMap]], reading: Reading) -> Boxes:
    """Return the boxes of the heads' answers, each (4 + C, A), after suppression per class.

    At most 300 people and vehicles, and at most 300 of fire and smoke.

    Of people and vehicles an anchor gives its best class only: a van is a car or a truck. Of fire and smoke it may give
    both: flames stand in their smoke.
    """
    least, take = reading.least_confidence, _every if reading.every_class else _best
    solid = [take(raw, at.solid_rows, at.solid_ids, least) for raw, at in heads if len(at.solid_ids)]
    fire = [_every(raw, at.fire_rows, at.fire_ids, least) for raw, at in heads if len(at.fire_ids)]
    kept = [_suppress(_joined(solid), reading.overlap_solid), _suppress(_joined(fire), reading.overlap_fire)]
    both = _joined(kept)
    return _strongest(both, len(both.confidence))


def _joined(boxes: Sequence[Boxes]) -> Boxes:
    if len(boxes) == 1:
        return boxes[0]
    return Boxes(
        np.concatenate([_NO_BOX, *(each.xyxy for each in boxes)]),
        np.concatenate([_NO_BOX[:, 0], *(each.confidence for each in boxes)]),
        np.concatenate([_NO_ID, *(each.class_id for each in boxes)]),
    )


def _best(raw: Float32, rows: _Rows, ids: NDArray[np.int64], least: float) -> Boxes:
    scores = raw[rows]
    best = scores.max(axis=0)
    at = np.flatnonzero(best >= least)
    return Boxes(_corners(raw[:_BOX_ROWS, at]), best[at], ids[scores[:, at].argmax(axis=0)])


def _every(raw: Float32, rows: _Rows, ids: NDArray[np.int64], least: float) -> Boxes:
    scores = raw[rows]
    row, at = np.nonzero(scores >= least)
    return Boxes(_corners(raw[:_BOX_ROWS, at]), scores[row, at], ids[row])


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
    return _strongest(_take(boxes, np.asarray(kept, np.int64).reshape(-1)), MOST_BOXES)


def _strongest(boxes: Boxes, most: int) -> Boxes:
    return _take(boxes, np.argsort(-boxes.confidence, kind="stable")[:most])


def _take(boxes: Boxes, at: NDArray[np.int64]) -> Boxes:
    return Boxes(boxes.xyxy[at], boxes.confidence[at], boxes.class_id[at])
