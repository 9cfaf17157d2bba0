# SPDX-License-Identifier: AGPL-3.0-or-later
"""Boxes and polygons in normalised picture coordinates: x right, y down, both 0 to 1."""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Float32: TypeAlias = NDArray[np.float32]
Polygon: TypeAlias = tuple[tuple[float, float], ...]

WHOLE_PICTURE: Polygon = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))


def polygon_problem(points: Sequence[Sequence[float]]) -> str | None:
    """Return what is wrong with a zone's polygon in one phrase, or None when it is usable."""
    if len(points) < 3:
        return f"a polygon needs at least 3 points, got {len(points)}"
    for point in points:
        if len(point) != 2:
            return f"a point is [x, y], got {list(point)}"
        if not all(0.0 <= value <= 1.0 for value in point):
            return f"point {list(point)} lies outside 0 to 1 (zones use normalised picture coordinates)"
    if abs(polygon_area(points)) < 1e-6:
        return "the polygon has no area"
    return None


def polygon_area(points: Sequence[Sequence[float]]) -> float:
    """Return the signed area by the shoelace formula (share of the picture)."""
    array = np.asarray(points, dtype=np.float64)
    x, y = array[:, 0], array[:, 1]
    return float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2


def inside(points: NDArray[np.floating], polygon: Polygon) -> NDArray[np.bool_]:
    """Tell which of `points` (N, 2) lie inside `polygon` (even-odd rule); returns (N,) bool."""
    xy = np.asarray(points, dtype=np.float64).reshape(-1, 2)
    ring = np.asarray(polygon, dtype=np.float64)
    start, end = ring, np.roll(ring, -1, axis=0)
    px, py = xy[:, 0, None], xy[:, 1, None]
    spans = (start[:, 1] > py) != (end[:, 1] > py)
    rise = np.where(end[:, 1] == start[:, 1], 1.0, end[:, 1] - start[:, 1])
    crossing = start[:, 0] + (py - start[:, 1]) / rise * (end[:, 0] - start[:, 0])
    odd: NDArray[np.bool_] = np.count_nonzero(spans & (px < crossing), axis=1) % 2 == 1
    return odd


def bottom_centre(xyxy: Float32) -> Float32:
    """Return where things stand: the middle of each box's lower edge, (N, 2)."""
    boxes = xyxy.reshape(-1, 4)
    return np.stack([(boxes[:, 0] + boxes[:, 2]) / 2, boxes[:, 3]], axis=1)


def centre(xyxy: Float32) -> Float32:
    """Return the middle of each box, (N, 2)."""
    boxes = xyxy.reshape(-1, 4)
    return np.stack([(boxes[:, 0] + boxes[:, 2]) / 2, (boxes[:, 1] + boxes[:, 3]) / 2], axis=1)


def box_area(xyxy: Float32) -> Float32:
    """Return each box's area as a share of the picture, (N,)."""
    boxes = xyxy.reshape(-1, 4)
    size: Float32 = np.clip(boxes[:, 2] - boxes[:, 0], 0, None) * np.clip(boxes[:, 3] - boxes[:, 1], 0, None)
    return size


def iou(a: Float32, b: Float32) -> Float32:
    """Return intersection over union of boxes `a` (N, 4) with boxes `b` (M, 4): (N, M)."""
    left, right = a.reshape(-1, 1, 4), b.reshape(1, -1, 4)
    low = np.maximum(left[..., :2], right[..., :2])
    high = np.minimum(left[..., 2:], right[..., 2:])
    size = np.clip(high - low, 0, None)
    shared = size[..., 0] * size[..., 1]
    union = box_area(a)[:, None] + box_area(b)[None, :] - shared
    overlap: Float32 = (shared / np.maximum(union, 1e-12)).astype(np.float32)
    return overlap
