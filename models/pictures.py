# SPDX-License-Identifier: AGPL-3.0-or-later
"""A picture that is an array, as a frame: for files and programs. A camera's frames are ingest's."""

import cv2
import numpy as np
from numpy.typing import NDArray

from models.letterbox import scale_into


class Picture:
    """A frame over an array: (h, w) grey, (h, w, 3) BGR or (h, w, 4) BGR and alpha, uint8, which is not copied."""

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        self._pixels = pixels

    @property
    def width(self) -> int:
        """Pixels across."""
        return int(self._pixels.shape[1])

    @property
    def height(self) -> int:
        """Pixels down."""
        return int(self._pixels.shape[0])

    def luma(self) -> NDArray[np.uint8]:
        """Return the luma, (height, width) uint8."""
        return np.asarray(cv2.cvtColor(self.view(self.width, self.height), cv2.COLOR_BGR2GRAY), np.uint8)

    def view(self, width: int, height: int) -> NDArray[np.uint8]:
        """Return the picture scaled to `width` × `height`: (height, width, 3) uint8, BGR."""
        scaled = np.empty((height, width, 3), np.uint8)
        scale_into(self._pixels, scaled)
        return scaled

    def paint(self, out: NDArray[np.uint8]) -> None:
        """Fill `out` (height, width, 3) with the picture scaled to that size; nothing is allocated for a colour picture."""
        scale_into(self._pixels, out)
