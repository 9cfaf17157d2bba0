# SPDX-License-Identifier: AGPL-3.0-or-later
"""From a picture of any size to the network's input, and back. Pixels only: knows nothing of boxes' meaning.

The picture lies at the input's top left; what is left over on the right or below is grey. Two choices:

- Its scaled sides are multiples of 8, the counter's cell, so that cells cover the picture exactly and none is half
  padding. This stretches a picture by at most 4 pixels; the usual formats (16:9, 4:3, 5:4, 1:1) not at all.
- The input's short side takes one of four steps. So there are seven sizes to compile for, whatever cameras send,
  at the price of some padding for unusual formats.

A picture smaller than the input is enlarged: the network finds things by their size in input pixels.
"""

import threading
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gridwatch.core.geometry import Float32

STRIDE_PX = 32  # the coarsest grid of the network: its input's sides are multiples of it
CELL_PX = 8  # side of the counter's cell
GREY = np.float32(114 / 255)  # what the network was trained with as padding
SHORT_SIDES = (0.6, 0.75, 0.85, 1.0)  # of the long side: 16:9 and wider; 4:3; 5:4 and D1; squarer


@dataclass(frozen=True, slots=True)
class Fit:
    """How a picture lies in an input; pixels of the input.

    Attributes:
        width, height: of the input.
        picture_width, picture_height: of the part that the picture fills, from the top left corner.
    """

    width: int
    height: int
    picture_width: int
    picture_height: int


def fit(picture_width: int, picture_height: int, long_side_px: int = 640) -> Fit:
    """Choose the input for a picture of this size (pixels, ≥ 1); `long_side_px` is a multiple of 32."""
    scale = long_side_px / max(picture_width, picture_height)
    width, height = _cells(picture_width * scale), _cells(picture_height * scale)
    if picture_width >= picture_height:
        return Fit(long_side_px, _step(height, long_side_px), long_side_px, height)
    return Fit(_step(width, long_side_px), long_side_px, width, long_side_px)


def _cells(side_px: float) -> int:
    return max(CELL_PX, int(side_px / CELL_PX + 0.5) * CELL_PX)


def _step(side_px: int, long_side_px: int) -> int:
    steps = (-(-round(long_side_px * share) // STRIDE_PX) * STRIDE_PX for share in SHORT_SIDES)
    return next(step for step in steps if step >= side_px)


class Canvases:
    """Input buffers, one per thread and input size, so that a look allocates none."""

    def __init__(self) -> None:
        self._local = threading.local()

    def paint(self, picture: NDArray[np.uint8], where: Fit) -> Float32:
        """Return the input (1, 3, H, W) float32, RGB 0 to 1, with `picture` (h, w, 3) uint8 BGR in it.

        The buffer is the calling thread's and stands until its next call.
        """
        canvas = self._blank(where)
        for channel in range(3):
            part = canvas[0, channel, : where.picture_height, : where.picture_width]
            np.multiply(picture[..., 2 - channel], np.float32(1 / 255), out=part)
        return canvas

    def _blank(self, where: Fit) -> Float32:
        canvases: dict[tuple[int, int], tuple[Fit, Float32]] = self._local.__dict__.setdefault("canvases", {})
        size = (where.width, where.height)
        last = canvases.get(size)
        if last is not None and last[0] == where:
            return last[1]
        canvas = np.empty((1, 3, where.height, where.width), np.float32) if last is None else last[1]
        canvas.fill(GREY)
        canvases[size] = (where, canvas)
        return canvas


def to_picture(xyxy: Float32, where: Fit) -> Float32:
    """Return boxes (N, 4) of input pixels in normalised picture coordinates, cut at the picture's edges."""
    sides = np.array([where.picture_width, where.picture_height] * 2, np.float32)
    boxes: Float32 = np.clip(xyxy / sides, 0, 1)
    return boxes


def crop_density(density: Float32, where: Fit) -> Float32:
    """Return the cells (rows, columns) that cover the picture, without those of the padding."""
    return np.ascontiguousarray(density[: where.picture_height // CELL_PX, : where.picture_width // CELL_PX])
