# SPDX-License-Identifier: AGPL-3.0-or-later
"""A decoded picture over FFmpeg's own planes: nothing is copied or scaled until somebody asks for it."""

import threading
from collections import OrderedDict

import av
import cv2
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

_EIGHT_BITS = 8
_PLAIN = frozenset({"yuv420p", "yuvj420p", "nv12", "gray"})  # what decoders mostly give: luma first, 8 bits
_SIZES = 8
_LINES = 3
_THREADS = 1  # FFmpeg's scaler else starts one for each core, anew for every picture
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
        return DecodedFrame(
            self._video.reformat(max_width, height, interpolation="FAST_BILINEAR", threads=_THREADS)
        )

    def _scaled(self, width: int, height: int) -> av.VideoFrame:
        return self._video.reformat(width, height, "bgr24", interpolation="AREA", threads=_THREADS)

    def _as(self, pixel_format: str) -> av.VideoFrame:
        return self._video.reformat(format=pixel_format, threads=_THREADS)


class Shrinker:
    """Luma of any size averaged down to another. One thread at a time; one serves all cameras of a worker.

    Of a large picture some lines are left out: three for a line of the small one, each averaged over its whole width, are
    enough for its noise to vanish. FFmpeg's scaler takes half as long as OpenCV's for the same within one level; what it
    prepares for a size costs as much as ten pictures, and is kept for the eight sizes that were seen last.
    """

    def __init__(self) -> None:
        self._scalers: OrderedDict[tuple[int, ...], VideoReformatter] = OrderedDict()

    def shrink(self, luma: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
        """Return `luma`, (any, any) uint8, as (height, width) uint8, which may be `luma` itself, and need not be contiguous."""
        if luma.shape == (height, width):
            return luma
        if luma.shape[0] < height or luma.shape[1] < width:  # made larger: the two do not agree there
            larger: NDArray[np.uint8] = cv2.resize(luma, (width, height), interpolation=cv2.INTER_AREA)
            return larger
        every = max(1, luma.shape[0] // (_LINES * height))
        lines = luma[every // 2 :: every]
        # from grey to grey: the range of luma stays as it is
        grey = av.VideoFrame.from_numpy_buffer(lines, "gray")
        scaler = self._scaler((*lines.shape, width, height))
        return _plane(scaler.reformat(grey, width, height, interpolation="AREA", threads=_THREADS))

    def _scaler(self, sizes: tuple[int, ...]) -> VideoReformatter:
        scaler = self._scalers.pop(sizes, None) or VideoReformatter()
        self._scalers[sizes] = scaler
        if len(self._scalers) > _SIZES:
            self._scalers.popitem(last=False)
        return scaler


def _has_plain_luma(video: av.VideoFrame) -> bool:
    if video.format.name in _PLAIN:
        return True
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
