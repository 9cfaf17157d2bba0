# SPDX-License-Identifier: AGPL-3.0-or-later
"""A decoded picture over FFmpeg's own planes: nothing is copied or scaled until somebody asks for it."""

import threading

import av
import cv2
import numpy as np
from numpy.typing import NDArray

_EIGHT_BITS = 8
_JPEG_QUALITY = 82


class DecodedFrame:
    """One decoded picture; the `Frame` of core.

    Several threads may ask it: scaling is done by one at a time, and the last view made is kept, because the
    network and the picture of an alert want the same one. Views are not to be written to.
    """

    def __init__(self, video: av.VideoFrame) -> None:
        self._video = video
        self._scaling = threading.Lock()
        self._luma: NDArray[np.uint8] | None = None
        self._view: NDArray[np.uint8] | None = None

    @property
    def width(self) -> int:
        """Pixels across."""
        return self._video.width

    @property
    def height(self) -> int:
        """Pixels down."""
        return self._video.height

    def luma(self) -> NDArray[np.uint8]:
        """Return the luma plane, (height, width) uint8; a view of the decoder's own memory where it has 8 bits."""
        with self._scaling:
            if self._luma is None:
                self._luma = _plane(self._video if _has_plain_luma(self._video) else self._as("gray"))
            return self._luma

    def view(self, width: int, height: int) -> NDArray[np.uint8]:
        """Return the picture scaled to `width` × `height`: (height, width, 3) uint8, BGR."""
        with self._scaling:
            view = self._view
            if view is None or view.shape[:2] != (height, width):
                scaled = self._video.reformat(width, height, "bgr24", interpolation="AREA")
                view = self._view = np.asarray(scaled.to_ndarray(), np.uint8)
                view.flags.writeable = False
            return view

    def jpeg(self, max_width: int = 640) -> bytes:
        """Return the picture as JPEG, at most `max_width` wide, its shape kept."""
        width = min(self.width, max_width)
        height = max(1, round(self.height * width / self.width))
        done, data = cv2.imencode(".jpg", self.view(width, height), [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
        if not done:
            raise ValueError(f"a picture of {width}×{height} cannot be encoded as JPEG")
        return bytes(data)

    def reduced(self, max_width: int = 640) -> "DecodedFrame":
        """Return the picture at most `max_width` wide, its shape kept (sides even): for keeping, at a fraction of the memory."""
        if self.width <= max_width:
            return self
        height = max(2, round(self.height * max_width / self.width) // 2 * 2)
        return DecodedFrame(self._video.reformat(max_width, height, interpolation="FAST_BILINEAR"))

    def _as(self, pixel_format: str) -> av.VideoFrame:
        return self._video.reformat(format=pixel_format)


def _has_plain_luma(video: av.VideoFrame) -> bool:
    first = video.format.components[0]
    return (
        first.is_luma
        and first.bits == _EIGHT_BITS
        and (video.format.is_planar or video.format.name == "gray")
    )


def _plane(video: av.VideoFrame) -> NDArray[np.uint8]:
    plane = video.planes[0]
    rows = np.frombuffer(memoryview(plane).toreadonly(), np.uint8).reshape(plane.height, plane.line_size)
    return rows[:, : plane.width]
