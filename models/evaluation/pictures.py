# SPDX-License-Identifier: AGPL-3.0-or-later
"""Picture files as frames, and the canvas that Ultralytics' validator lays them on."""

import math
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from gridwatch.core.geometry import Float32
from models.evaluation.errors import DatasetError
from models.letterbox import STRIDE_PX

GREY = 114


def read_picture(file: Path) -> NDArray[np.uint8]:
    """Return a picture file's pixels (height, width, 3) uint8 BGR; alpha is dropped, grey becomes three channels.

    Raises:
        DatasetError: it cannot be read or is no picture.
    """
    try:
        data = np.frombuffer(file.read_bytes(), np.uint8)
    except OSError as error:
        raise DatasetError(f"cannot be read: {error.strerror}", file=file) from error
    try:
        pixels = cv2.imdecode(data, cv2.IMREAD_COLOR) if len(data) else None
    except cv2.error as error:
        raise DatasetError(
            "is no picture that can be decoded; take it and its labels away", file=file
        ) from error
    if pixels is None:
        raise DatasetError("is no picture that can be decoded; take it and its labels away", file=file)
    return np.asarray(pixels, np.uint8)


class PictureFrame:
    """A frame over pixels in memory. Reduced by area as the cameras' decoder does, enlarged bilinearly."""

    def __init__(self, bgr: NDArray[np.uint8]) -> None:
        """Wrap (height, width, 3) uint8 BGR."""
        self._bgr = bgr
        self.height, self.width = int(bgr.shape[0]), int(bgr.shape[1])

    def luma(self) -> NDArray[np.uint8]:
        """Return the luma (height, width) uint8."""
        return np.asarray(cv2.cvtColor(self._bgr, cv2.COLOR_BGR2GRAY), np.uint8)

    def view(self, width: int, height: int) -> NDArray[np.uint8]:
        """Return the picture scaled to `width` × `height`: (height, width, 3) uint8 BGR."""
        if (width, height) == (self.width, self.height):
            return self._bgr
        smaller = width * height < self.width * self.height
        how = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
        return np.asarray(cv2.resize(self._bgr, (width, height), interpolation=how), np.uint8)


@dataclass(frozen=True, slots=True, eq=False)
class Mounted:
    """A picture on a canvas: the canvas as a frame, and where on it the picture lies (pixels of the canvas)."""

    frame: PictureFrame
    left: int
    top: int
    width: int
    height: int

    def to_picture(self, xyxy: Float32) -> Float32:
        """Return boxes in normalised coordinates of the canvas as normalised coordinates of the picture, not cut."""
        canvas = np.array([self.frame.width, self.frame.height] * 2, np.float32)
        corner = np.array([self.left, self.top] * 2, np.float32)
        sides = np.array([self.width, self.height] * 2, np.float32)
        return np.asarray((xyxy * canvas - corner) / sides, np.float32)


def validator_side_px(size_px: int) -> int:
    """Return the long side of the canvas on which Ultralytics' validator scores at `size_px` (a multiple of 32)."""
    return math.ceil(size_px / STRIDE_PX + 0.5) * STRIDE_PX


def mount_as_validator(bgr: NDArray[np.uint8], size_px: int) -> Mounted:
    """Lay a picture on grey as Ultralytics' validator does with rect=True and a batch of one.

    The long side is scaled to `size_px` (bilinear, also enlarged); each side of the canvas is the scaled one plus half a
    stride, rounded up to a multiple of 32; the picture lies in the middle. So there is a grey border all around, which
    a camera's look has not.
    """
    height, width = bgr.shape[:2]
    ratio = size_px / max(height, width)
    inner_width, inner_height = (min(math.ceil(side * ratio), size_px) for side in (width, height))
    if ratio != 1:
        bgr = np.asarray(
            cv2.resize(bgr, (inner_width, inner_height), interpolation=cv2.INTER_LINEAR), np.uint8
        )
    sides = [math.ceil(side * ratio / STRIDE_PX + 0.5) * STRIDE_PX for side in (height, width)]
    canvas = np.full((*sides, 3), GREY, np.uint8)
    top, left = round((sides[0] - inner_height) / 2 - 0.1), round((sides[1] - inner_width) / 2 - 0.1)
    canvas[top : top + inner_height, left : left + inner_width] = bgr
    return Mounted(PictureFrame(canvas), left, top, inner_width, inner_height)
