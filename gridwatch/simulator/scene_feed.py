# SPDX-License-Identifier: AGPL-3.0-or-later
"""A generated scene as a camera: rendered and encoded a GOP ahead, as a bit-starved CBR camera would send it."""

import math
from fractions import Fraction
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from gridwatch.core.errors import InputError
from gridwatch.simulator.coding import Coder, Coding, Keys, Picture
from gridwatch.simulator.errors import FeedError
from gridwatch.simulator.rtsp.media import AccessUnit, VideoMedia
from gridwatch.simulator.treatments import Planes
from gridwatch.simulator.variants import Plan, Value, Variant, variant

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
        self._coding = _coding(renderer)
        self._coder: Coder | None = None
        self._next = 0
        self._last_gop: int | None = None
        self._wish: Variant | None = None  # the one thing that another thread writes
        self._taken: Variant | None = None
        self._taken_s = 0.0
        self._plan: Plan | None = None
        self._held: Planes | None = None

    @property
    def showing(self) -> str | None:
        """The variant that is in the stream; None for the scene itself."""
        return self._taken.name if self._taken is not None and self._plan is not None else None

    def show(self, name: str | None, **values: Value) -> None:
        """Send a variant from the next group of pictures on; None: the scene itself again. See `Feed.show`.

        Raises:
            InputError: there is no such variant, a value is not its, or a scene cannot be coded so.
        """
        wish = None if name is None else variant(name, **values)
        if wish is not None and not _is_possible(wish.plan(self._coding), self._coding):
            raise InputError(f"a generated scene has no variant {wish.name!r}; use a clip")
        self._wish = wish

    def open(self, start_s: float) -> VideoMedia:
        """Start the encoder; the first frame is a key frame."""
        self.close()
        self._coder = Coder(self._coding)
        self._next = max(0, math.ceil(start_s * self._renderer.fps))
        self._last_gop = None
        return self._coder.media

    def next_unit(self, now_s: float) -> AccessUnit:
        """Render and encode the next frame; see `Feed.next_unit`."""
        if self._coder is None:
            raise FeedError("the encoder is not open")
        index = self._skip_to(now_s)
        at_s = index / self._renderer.fps
        gop = (index - self._key_phase) // self._renderer.gop_frames
        is_key, self._last_gop = gop != self._last_gop, gop
        if is_key:
            is_key = self._change(at_s)
        coded = self._coder.code(Picture(self._planes(index), is_key))
        nals = tuple(nal for picture in coded for nal in picture.nals)
        if not nals:
            raise FeedError("the encoder kept a frame back")
        return AccessUnit(nals, at_s, at_s, any(picture.is_key for picture in coded), self._coder.media)

    def close(self) -> None:
        """Let the encoder go."""
        self._coder = None

    def _change(self, at_s: float) -> bool:
        """Take up what is wished for, where a group of pictures begins; tell whether it begins with a key picture."""
        wish, was_endless = self._wish, self._plan is not None and self._plan.is_endless
        if wish != self._taken:
            self._taken, self._taken_s, self._plan, self._held = wish, at_s, None, None
        if wish is None or not wish.is_on(at_s - self._taken_s):
            self._plan = None
            return True
        if self._plan is None:
            self._plan, was_endless = wish.plan(self._coding), False
        return not was_endless

    def _planes(self, index: int) -> Planes:
        plan = self._plan
        if plan is None:
            return _to_planes(self._renderer.render(index))
        if not plan.is_still:
            return plan.treatment(_to_planes(self._renderer.render(index)))
        if self._held is None:
            self._held = _to_planes(self._renderer.render(index))
        return plan.treatment(self._held)

    def _skip_to(self, now_s: float) -> int:
        index, fps = self._next, self._renderer.fps
        if index < now_s * fps - 1 and self._last_gop is not None:
            later = math.ceil(now_s * fps)
            self.skipped += later - index
            index = later
        self._next = index + 1
        return index


def _is_possible(plan: Plan, coding: Coding) -> bool:
    """Tell whether a running encoder of the scene can do it: what it has no key pictures for is its own matter."""
    return plan.gop_s is None and (plan.coding == coding or plan.coding.keys is Keys.FIRST)


def _coding(renderer: Renderer) -> Coding:
    return Coding(
        width=renderer.width,
        height=renderer.height,
        fps=Fraction(renderer.fps).limit_denominator(1001),
        bit_rate=round(renderer.width * renderer.height * BITS_PER_PIXEL_SECOND),
    )


def _to_planes(picture: NDArray[np.uint8]) -> Planes:
    planes: Planes = cv2.cvtColor(picture, cv2.COLOR_BGR2YUV_I420)
    return planes
