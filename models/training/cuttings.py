# SPDX-License-Identifier: AGPL-3.0-or-later
"""Real flames lifted from labelled pictures, to be laid into pictures without fire.

A flame adds light: what is brighter and redder than the rim of its box belongs to it. Boxes whose content does not
stand out from their rim (daylight, fire behind smoke) give no cutting.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from gridwatch.core.geometry import Float32
from models.training.pictures import FIRE, Picture

SMALLEST_PX, LARGEST_PX = 24, 400
CONTRAST = 60.0  # of 255: how much a flame's red has to stand out from the rim of its box
RIM = 0.12  # share of the box's sides
OPAQUE = 0.5
SPARSEST, FULLEST = 0.04, 0.75  # of the box that may be opaque: less is a spark, more is a bright wall


@dataclass(frozen=True, slots=True, eq=False)
class Cutting:
    """A flame: BGR (h, w, 3) float32 0 to 255, and its opacity (h, w) float32 0 to 1."""

    bgr: Float32
    opacity: Float32


def make_cuttings(pictures: list[Picture]) -> list[Cutting]:
    """Lift what can be lifted."""
    made = []
    for picture in pictures:
        for _, *box in picture.boxes[picture.boxes[:, 0] == FIRE]:
            cutting = _lift(picture.bgr, box)
            if cutting is not None:
                made.append(cutting)
    return made


def _lift(bgr: NDArray[np.uint8], box: list[float]) -> Cutting | None:
    x0, y0, x1, y1 = (round(float(side)) for side in box)
    wide, tall = x1 - x0, y1 - y0
    if min(wide, tall) < SMALLEST_PX or max(wide, tall) > LARGEST_PX:
        return None
    dx, dy = round(RIM * wide), round(RIM * tall)
    crop = bgr[max(0, y0 - dy) : y1 + dy, max(0, x0 - dx) : x1 + dx].astype(np.float32)
    red, blue = crop[..., 2], crop[..., 0]
    glow: Any = cv2.GaussianBlur(0.6 * red + 0.4 * (red - blue), (3, 3), 0)
    rim = np.ones(glow.shape, bool)
    rim[dy : -dy or None, dx : -dx or None] = False
    if not rim.any():
        return None
    dark, bright = float(np.percentile(glow[rim], 80)), float(np.percentile(glow, 95))
    if bright - dark < CONTRAST:
        return None
    opacity = np.clip((glow - dark - 0.12 * (bright - dark)) / (0.35 * (bright - dark)), 0, 1)
    fade = np.minimum.outer(_ramp(glow.shape[0], dy), _ramp(glow.shape[1], dx))
    opacity = (opacity * fade).astype(np.float32)
    share = float((opacity > OPAQUE).mean())
    return Cutting(crop, opacity) if SPARSEST < share < FULLEST else None


def _ramp(many: int, edge: int) -> Float32:
    at = np.arange(many)
    return np.clip((np.minimum(at, many - 1 - at) + 0.5) / max(edge, 2), 0, 1).astype(np.float32)
