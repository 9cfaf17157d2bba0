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

    Several threads may ask it: scaling is done by one at a time, and the last view made is kept, because the pictures
    of an alert want the same one. Views are not to be written to.
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
                view = self._view = _colours(self._scaled(width, height))
            return view

    def paint(self, out: NDArray[np.uint8]) -> None:
        """Fill `out` (height, width, 3) uint8, which need not be contiguous, with the picture scaled to that size, BGR.

        Keeps nothing: FFmpeg scales into a picture of its own (PyAV cannot name another), which goes after the copy.
        """
        height, width = out.shape[:2]
        with self._scaling:
            view = self._view
            if view is None or view.shape[:2] != (height, width):
                view = _colours(self._scaled(width, height))
            out[:] = view

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

    def _scaled(self, width: int, height: int) -> av.VideoFrame:
        return self._video.reformat(width, height, "bgr24", interpolation="AREA")

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
    return _lines(video)[:, : video.planes[0].width]


def _colours(video: av.VideoFrame) -> NDArray[np.uint8]:
    """Return the pixels of a bgr24 picture, (height, width, 3), in FFmpeg's memory."""
    return _lines(video)[:, : 3 * video.width].reshape(video.height, video.width, 3)


def _lines(video: av.VideoFrame) -> NDArray[np.uint8]:
    plane = video.planes[0]
    return np.frombuffer(memoryview(plane).toreadonly(), np.uint8).reshape(plane.height, plane.line_size)
