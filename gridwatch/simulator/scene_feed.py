# SPDX-License-Identifier: AGPL-3.0-or-later
"""A generated scene as a camera: rendered and encoded a GOP ahead, as a bit-starved CBR camera would send it."""

import math
from fractions import Fraction
from typing import Protocol

import av
import cv2
import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType, VideoFrame
from numpy.typing import NDArray

from gridwatch.simulator.errors import FeedError
from gridwatch.simulator.rtsp.h264 import AccessUnit, ParameterSets, parse_header, split_annex_b
from gridwatch.simulator.rtsp.sdp import VideoMedia

BITS_PER_PIXEL_SECOND = 1.55
"""800 kbit/s at 960 × 540: starved, as city cameras are."""


class Renderer(Protocol):
    """A scene. Frame i is shown at second i / fps of the timeline; sizes in pixels, both even.

    Attributes:
        gop_frames: a key frame every so many frames.
    """

    @property
    def width(self) -> int:
        """Pixels across."""
        ...

    @property
    def height(self) -> int:
        """Pixels down."""
        ...

    @property
    def fps(self) -> float:
        """Frames a second."""
        ...

    @property
    def gop_frames(self) -> int:
        """A key frame every so many frames."""
        ...

    def render(self, frame_index: int) -> NDArray[np.uint8]:
        """Return the picture (height, width, 3), BGR; the same index gives the same picture."""
        ...


class SceneFeed:
    """Renders and encodes a scene.

    Where rendering falls behind by more than a frame, frames are left out on the timeline and counted: the scene
    runs at fewer frames a second and never late.

    Args:
        renderer: the scene.
        key_phase_frames: which frame of each `gop_frames` is the key frame; different from camera to camera,
            because key frames that coincide distort every measurement.
    """

    def __init__(self, renderer: Renderer, key_phase_frames: int = 0) -> None:
        self._renderer = renderer
        self._key_phase = key_phase_frames % renderer.gop_frames
        self.ahead_s = self.refill_s = renderer.gop_frames / renderer.fps
        self.skipped = 0
        self._coder: VideoCodecContext | None = None
        self._next = 0
        self._last_gop: int | None = None

    def open(self, start_s: float) -> VideoMedia:
        """Start the encoder; the first frame is a key frame."""
        self.close()
        renderer = self._renderer
        self._coder = _open_coder(renderer)
        self._next = max(0, math.ceil(start_s * renderer.fps))
        self._last_gop = None
        return VideoMedia(_parameter_sets(self._coder), renderer.width, renderer.height, renderer.fps)

    def next_unit(self, now_s: float) -> AccessUnit:
        """Render and encode the next frame; see `Feed.next_unit`."""
        if self._coder is None:
            raise FeedError("the encoder is not open")
        index = self._skip_to(now_s)
        gop = (index - self._key_phase) // self._renderer.gop_frames
        is_key, self._last_gop = gop != self._last_gop, gop
        frame = _to_frame(self._renderer.render(index))
        frame.pts, frame.time_base = index, Fraction(1) / _rate(self._renderer.fps)
        frame.pict_type = PictureType.I if is_key else PictureType.NONE
        nals = tuple(nal for packet in self._coder.encode(frame) for nal in split_annex_b(bytes(packet)))
        if not nals:
            raise FeedError("the encoder kept a frame back")
        at_s = index / self._renderer.fps
        return AccessUnit(nals, at_s, at_s, is_key)

    def close(self) -> None:
        """Let the encoder go."""
        self._coder = None

    def _skip_to(self, now_s: float) -> int:
        index, fps = self._next, self._renderer.fps
        if index < now_s * fps - 1 and self._last_gop is not None:
            later = math.ceil(now_s * fps)
            self.skipped += later - index
            index = later
        self._next = index + 1
        return index


def _open_coder(renderer: Renderer) -> VideoCodecContext:
    coder = av.CodecContext.create("libx264", "w")
    coder.width, coder.height, coder.pix_fmt = renderer.width, renderer.height, "yuv420p"
    rate = _rate(renderer.fps)
    coder.framerate, coder.time_base = rate, 1 / rate
    coder.bit_rate = round(renderer.width * renderer.height * BITS_PER_PIXEL_SECOND)
    coder.flags |= av.codec.context.Flags.global_header
    kbit = coder.bit_rate // 1000
    coder.thread_count = 1
    coder.options = {
        "preset": "ultrafast",
        "tune": "zerolatency",
        "x264-params": f"keyint=infinite:scenecut=0:bframes=0:vbv-maxrate={kbit}:vbv-bufsize={kbit}",
    }
    try:
        coder.open()
    except av.FFmpegError as exc:
        raise FeedError(f"libx264 does not start: {exc}") from exc
    return coder


def _parameter_sets(coder: VideoCodecContext) -> ParameterSets:
    return parse_header(coder.extradata or b"").parameter_sets


def _rate(fps: float) -> Fraction:
    return Fraction(fps).limit_denominator(1001)


def _to_frame(picture: NDArray[np.uint8]) -> VideoFrame:
    planes = cv2.cvtColor(picture, cv2.COLOR_BGR2YUV_I420)
    return VideoFrame.from_ndarray(planes, format="yuv420p")
