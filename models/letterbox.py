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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import cv2
import numpy as np
from numpy.typing import NDArray

from gridwatch.core.frame import Frame
from gridwatch.core.geometry import Float32
from models.backends.port import Uint8
from models.errors import PictureError

STRIDE_PX = 32  # the coarsest grid of the network: its input's sides are multiples of it
CELL_PX = 8  # side of the counter's cell
GREY = 114  # what the network was trained with as padding
SHORT_SIDES = (0.6, 0.75, 0.85, 1.0)  # of the long side: 16:9 and wider; 4:3; 5:4 and D1; squarer
_TO_BGR = {1: cv2.COLOR_GRAY2BGR, 3: None, 4: cv2.COLOR_BGRA2BGR}


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


def fit_into(picture_width: int, picture_height: int, width: int, height: int) -> Fit:
    """Lay a picture into the one input that a network has (pixels, multiples of 32)."""
    scale = min(width / picture_width, height / picture_height)
    across, down = _cells(picture_width * scale), _cells(picture_height * scale)
    return Fit(width, height, min(across, width), min(down, height))


def _cells(side_px: float) -> int:
    return max(CELL_PX, int(side_px / CELL_PX + 0.5) * CELL_PX)


def _step(side_px: int, long_side_px: int) -> int:
    steps = (-(-round(long_side_px * share) // STRIDE_PX) * STRIDE_PX for share in SHORT_SIDES)
    return next(step for step in steps if step >= side_px)


@runtime_checkable
class PaintsItself(Protocol):
    """A frame that writes its scaled picture into memory that is there already."""

    def paint(self, out: Uint8) -> None:
        """Fill `out` (height, width, 3) uint8 with the picture scaled to that size, BGR."""
        ...


class Canvases:
    """Input buffers, one per thread and input size, so that a look allocates none.

    Args:
        make: returns memory (batch, height, width, 3) uint8; the engine's.
        batch: the most pictures that are painted side by side.
    """

    def __init__(self, make: Callable[[int, int, int], Uint8], batch: int = 1) -> None:
        self._make, self._batch = make, batch
        self._local = threading.local()

    def paint(self, frames: Sequence[Frame], fits: Sequence[Fit]) -> Uint8:
        """Return the input (N, H, W, 3) uint8 BGR with the frames scaled into it; their fits have one input size.

        The memory is the calling thread's and stands until its next call.

        Raises:
            PictureError: a frame gave something else than a picture.
        """
        canvas, last = self._blank(fits[0])
        for at, (frame, where) in enumerate(zip(frames, fits, strict=True)):
            if last[at] != where:
                canvas[at] = GREY
                last[at] = where
            _scale_into(frame, canvas[at, : where.picture_height, : where.picture_width])
        return canvas[: len(frames)]

    def _blank(self, where: Fit) -> tuple[Uint8, list[Fit | None]]:
        canvases: dict[tuple[int, int], tuple[Uint8, list[Fit | None]]]
        canvases = self._local.__dict__.setdefault("canvases", {})
        size = (where.height, where.width)
        if size not in canvases:
            canvases[size] = self._make(self._batch, *size), [None] * self._batch
        return canvases[size]


def _scale_into(frame: Frame, out: Uint8) -> None:
    if isinstance(frame, PaintsItself):
        frame.paint(out)
        return
    picture = frame.view(out.shape[1], out.shape[0])
    if picture.shape == out.shape and picture.dtype == np.uint8:
        out[:] = picture
    else:
        scale_into(picture, out)


def scale_into(picture: NDArray[np.uint8], out: Uint8) -> None:
    """Scale a picture of any size into `out` (height, width, 3) uint8 BGR.

    Args:
        picture: uint8; (h, w) or (h, w, 1) grey, (h, w, 3) BGR, (h, w, 4) BGR and alpha, which is left out.
        out: where to; need not be contiguous.

    Raises:
        PictureError: it is no such picture.
    """
    if picture.dtype != np.uint8 or picture.size == 0 or picture.ndim not in {2, 3}:
        raise PictureError(f"a picture of {picture.dtype} {picture.shape} is none")
    planes = 1 if picture.ndim == 2 else picture.shape[2]  # noqa: PLR2004  rows and columns
    if planes not in _TO_BGR:
        raise PictureError(f"a picture of {planes} planes is neither grey nor colour")
    to_bgr = _TO_BGR[planes]
    bgr = picture if to_bgr is None else cv2.cvtColor(picture, to_bgr)
    cv2.resize(bgr, (out.shape[1], out.shape[0]), dst=out, interpolation=cv2.INTER_LINEAR)


def to_picture(xyxy: Float32, where: Fit) -> Float32:
    """Return boxes (N, 4) of input pixels in normalised picture coordinates, cut at the picture's edges."""
    sides = np.array([where.picture_width, where.picture_height] * 2, np.float32)
    boxes: Float32 = np.clip(xyxy / sides, 0, 1)
    return boxes


def crop_density(density: Float32, where: Fit) -> Float32:
    """Return the cells (rows, columns) that cover the picture, without those of the padding."""
    return np.ascontiguousarray(density[: where.picture_height // CELL_PX, : where.picture_width // CELL_PX])
