# SPDX-License-Identifier: AGPL-3.0-or-later
"""One training picture from one or four pictures: placed, lit, blurred, compressed, some with generated flames.

A plan (which pictures, which seed) makes the same sample in any process, so that a run can be repeated.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from gridwatch.core.geometry import Float32
from models.training.compression import through_h264
from models.training.flames import Bank, ignite
from models.training.pictures import Picture

GREY = 114  # as the product's letterbox


@dataclass(frozen=True, slots=True)
class Plan:
    """What to make: one picture, or four in a mosaic; `calm` for the last part of a run, with milder changes."""

    at: tuple[int, ...]
    seed: tuple[int, int]
    width: int
    height: int
    calm: bool


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """A composed picture.

    Attributes:
        bgr: (height, width, 3) uint8.
        boxes: (n, 5) float32: class, x0, y0, x1, y1 in its pixels.
        known, present: (2,), as in `Picture`, for the whole.
    """

    bgr: NDArray[np.uint8]
    boxes: Float32
    known: Float32
    present: Float32


def compose(plan: Plan, pictures: list[Picture], bank: Bank) -> Sample:
    """Make the sample that `plan` describes."""
    rng = np.random.default_rng(plan.seed)
    chosen = [pictures[at] for at in plan.at]
    canvas = np.full((plan.height, plan.width, 3), GREY, np.uint8)
    boxes = [
        _place(canvas, picture, where, rng, alone=len(chosen) == 1)
        for picture, where in zip(chosen, _places(plan, rng), strict=True)
    ]
    table = np.concatenate(boxes)
    known = np.min([picture.known for picture in chosen], axis=0)
    present = np.max([picture.present for picture in chosen], axis=0)  # NaN where any is unsure
    for kind in (0, 1):
        if (table[:, 0] == kind).any():
            present[kind] = 1
        elif present[kind] == 1:
            present[kind] = np.nan  # what was there may have been cut off
    if all(picture.is_clean for picture in chosen) and rng.random() < 0.3:  # noqa: PLR2004
        made = ignite(canvas, bank, rng)
        for kind in made[:, 0].astype(int):
            present[kind] = 1
        table = np.concatenate([table, made])
    return Sample(_expose(canvas, rng, calm=plan.calm), table, known, present)


def _places(plan: Plan, rng: np.random.Generator) -> list[tuple[int, int, int, int]]:
    if len(plan.at) == 1:
        return [(0, 0, plan.width, plan.height)]
    x = int(rng.uniform(0.25, 0.75) * plan.width)
    y = int(rng.uniform(0.25, 0.75) * plan.height)
    return [
        (0, 0, x, y),
        (x, 0, plan.width, y),
        (0, y, x, plan.height),
        (x, y, plan.width, plan.height),
    ]


def _place(
    canvas: NDArray[np.uint8],
    picture: Picture,
    where: tuple[int, int, int, int],
    rng: np.random.Generator,
    *,
    alone: bool,
) -> Float32:
    """Draw `picture` into a rectangle of the canvas; return its boxes there (those of which enough is left)."""
    x0, y0, x1, y1 = where
    width, height = x1 - x0, y1 - y0
    rows, columns = picture.bgr.shape[:2]
    if (
        alone
    ):  # half of them as the product gives a picture to the network: it just fits, and nothing is cut off
        zoom = _between(rng, 0.85, 1.08) if rng.random() < 0.5 else _between(rng, 0.55, 1.75)  # noqa: PLR2004
        scale = min(width / columns, height / rows) * zoom
    else:
        scale = min(2.0, max(width / columns, height / rows)) * _between(rng, 0.5, 1.6)
    stretch = _between(rng, 0.89, 1.12)
    sx, sy = scale * stretch, scale / stretch
    mirror = rng.random() < 0.5  # noqa: PLR2004
    shift_x = (width - sx * columns) * rng.random()
    shift_y = (height - sy * rows) * rng.random()
    matrix = np.array([[-sx if mirror else sx, 0, shift_x + sx * columns * mirror], [0, sy, shift_y]])
    small = picture.bgr
    if scale < 0.5:  # noqa: PLR2004  linear sampling would skip pixels
        small = cv2.blur(small, (round(1 / scale),) * 2)
    canvas[y0:y1, x0:x1] = cv2.warpAffine(
        small, matrix, (width, height), flags=cv2.INTER_LINEAR, borderValue=(GREY,) * 3
    )
    return _moved(picture.boxes, matrix, where)


def _moved(boxes: Float32, matrix: Float32, where: tuple[int, int, int, int]) -> Float32:
    x0, y0, x1, y1 = where
    a, b = boxes[:, 1] * matrix[0, 0] + matrix[0, 2], boxes[:, 3] * matrix[0, 0] + matrix[0, 2]
    left, right = np.minimum(a, b) + x0, np.maximum(a, b) + x0
    top, bottom = (
        boxes[:, 2] * matrix[1, 1] + matrix[1, 2] + y0,
        boxes[:, 4] * matrix[1, 1] + matrix[1, 2] + y0,
    )
    whole = np.maximum((right - left) * (bottom - top), 1e-3)
    left, right = left.clip(x0, x1), right.clip(x0, x1)
    top, bottom = top.clip(y0, y1), bottom.clip(y0, y1)
    wide, tall = right - left, bottom - top
    keep = (wide > 3) & (tall > 3) & (wide * tall > 0.2 * whole)  # noqa: PLR2004
    return np.stack([boxes[:, 0], left, top, right, bottom], 1)[keep].astype(np.float32)


def _between(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _expose(bgr: NDArray[np.uint8], rng: np.random.Generator, *, calm: bool) -> NDArray[np.uint8]:
    """Change light, colour, sharpness and noise, and pass the picture through a lossy encoder, as a camera does."""
    much = 0.5 if calm else 1.0
    if rng.random() < 0.2:  # noqa: PLR2004
        scale = rng.uniform(0.35, 0.8)
        small = cv2.resize(bgr, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        bgr = cv2.resize(small, bgr.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    curve = _between(rng, 1 - 0.3 * much, 1 + 0.3 * much)
    gain = _between(rng, 1 - 0.3 * much, 1 + 0.25 * much)
    if rng.random() < 0.07:  # noqa: PLR2004
        gain *= rng.uniform(0.3, 0.6)  # night
    steps = np.arange(256, dtype=np.float32) / 255
    bgr = cv2.LUT(bgr, np.clip(255 * steps**curve * gain, 0, 255).astype(np.uint8))
    if rng.random() < 0.75:  # noqa: PLR2004
        hsv = cv2.cvtColor(bgr, cv2.COLOR_BGR2HSV)
        hue = np.arange(256, dtype=np.float32) + rng.uniform(-6, 6) * much
        saturation = np.arange(256) * (0 if rng.random() < 0.06 else _between(rng, 0.6, 1.4))  # noqa: PLR2004
        table = np.stack([hue % 180, saturation.clip(0, 255), np.arange(256)], 1).astype(np.uint8)
        bgr = cv2.cvtColor(cv2.LUT(hsv, table[:, None]), cv2.COLOR_HSV2BGR)
    if rng.random() < 0.25:  # noqa: PLR2004
        noise = np.empty(bgr.shape, np.int16)
        cv2.setRNGSeed(int(rng.integers(1 << 30)))
        cv2.randn(noise, (0,) * 3, (rng.uniform(1, 9),) * 3)
        bgr = cv2.add(bgr, noise, dtype=cv2.CV_8U)
    return _compressed(bgr, rng)


def _compressed(bgr: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    kind = rng.random()
    if kind < 0.2:  # noqa: PLR2004
        return through_h264(bgr, int(rng.uniform(24, 43)))
    if kind < 0.4:  # noqa: PLR2004
        quality = int(rng.uniform(12, 70))
        coded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        decoded: Any = cv2.imdecode(coded, cv2.IMREAD_COLOR)
        return decoded
    return bgr
