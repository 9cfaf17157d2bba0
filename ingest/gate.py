# SPDX-License-Identifier: AGPL-3.0-or-later
"""Tells whether a camera's picture changed enough to be worth a look, from luma alone. Knows nothing of objects.

Measured on four encodings: the largest difference between two key frames, over 320 × 180 pixels averaged 4 × 4, is at most
4.8 where nothing happens and at least 26 where something does. It is blind to what comes and goes between two key
frames, and slow smoke adapts away in a difference of neighbours: so there is a slow background beside it, and a look every
few seconds, or at each key frame where those are rarer, whether anything changed or not.
"""

import math
from collections import deque
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from gridwatch.core.look import LookReason

WIDTH, HEIGHT = 320, 180

_BLUR = (4, 4)
_TIMES = 16.0  # what is compared are sums of 4 × 4 pixels: exact in 16 bits, at half the memory of averages
_BACKGROUND_TAU_S = 60.0
_FOLLOW_EVERY_S = 3.5  # at each key frame the steps would be too small for whole sums; so 0.6 levels are lost
_MEMORY = 64
_RECENT = 4


@dataclass(frozen=True, slots=True)
class GateBounds:
    """When a gate opens, and for how long.

    Attributes:
        look_every_s: a look at least so often, changed or not (within a tenth of the key interval), or at each key frame
            where those are rarer.
        hold_s: every key frame is looked at for so long after the last change.
        low, high: the threshold stays between them, luma steps of 0 to 255. Above `high` events begin: a night of
            rain may raise the threshold, but never past them.
    """

    look_every_s: float = 4.0
    hold_s: float = 8.0
    low: float = 8.0
    high: float = 20.0


class Gate:
    """The gate of one camera. One thread at a time."""

    def __init__(self, bounds: GateBounds | None = None) -> None:
        self._bounds = bounds or GateBounds()
        self._small: NDArray[np.uint8] | None = None  # made where pictures come larger
        self._now, self._last = np.empty((2, HEIGHT, WIDTH), np.uint16)
        self._background = np.empty((HEIGHT, WIDTH), np.uint16)
        self._followed_mono_s = 0.0
        self._key_noise = _Noise(self._bounds)
        self._background_noise = _Noise(self._bounds)
        self._intervals: deque[float] = deque(maxlen=_RECENT)
        self._seen_mono_s: float | None = None
        self._looked_mono_s = self._changed_mono_s = -math.inf

    @property
    def thresholds(self) -> tuple[float, float]:
        """What a change must exceed now: against the last key frame, and against the background."""
        return self._key_noise.threshold, self._background_noise.threshold

    def admit(self, luma: NDArray[np.uint8], at_mono_s: float) -> tuple[LookReason | None, float]:
        """Return why this key frame is to be looked at (None: not at all), and the largest change in it.

        Args:
            luma: (height, width) uint8 of any size; (180, 320) is used as it is.
            at_mono_s: its time; one before the last begins anew.
        """
        self._shrink(luma)
        if self._seen_mono_s is None or at_mono_s < self._seen_mono_s:
            self._begin(at_mono_s)
            return LookReason.PATROL, 0.0
        gap = at_mono_s - self._seen_mono_s
        self._intervals.append(gap)
        value, opened = self._change()
        self._follow(at_mono_s)
        self._seen_mono_s = at_mono_s
        if opened:
            self._changed_mono_s = at_mono_s
        why = self._why(at_mono_s)
        if why is not None:
            self._looked_mono_s = at_mono_s
        return why, value

    def change_in(self, luma: NDArray[np.uint8]) -> float | None:
        """Return the largest change in a picture between two key frames if it would open the gate; None if it would not.

        Nothing is learnt from it: what is usual is known for key frames.
        """
        if self._seen_mono_s is None:
            return None
        self._shrink(luma)
        by_key, by_background = self._largest(self._last), self._largest(self._background)
        opened = by_key > self._key_noise.threshold or by_background > self._background_noise.threshold
        return max(by_key, by_background) if opened else None

    def changed(self, at_mono_s: float) -> None:
        """Say that something changed at this time: the gate is open for as long as after a key frame that shows it."""
        self._changed_mono_s = at_mono_s

    def _shrink(self, luma: NDArray[np.uint8]) -> None:
        small = luma
        if luma.shape != (HEIGHT, WIDTH):
            small = cv2.resize(luma, (WIDTH, HEIGHT), dst=self._small, interpolation=cv2.INTER_AREA)
            self._small = small
        cv2.boxFilter(small, cv2.CV_16U, _BLUR, dst=self._now, normalize=False)

    def _begin(self, at_mono_s: float) -> None:
        np.copyto(self._last, self._now)
        np.copyto(self._background, self._now)
        self._intervals.clear()
        self._seen_mono_s = self._looked_mono_s = self._followed_mono_s = at_mono_s
        self._changed_mono_s = -math.inf

    def _change(self) -> tuple[float, bool]:
        by_key = self._largest(self._last)
        by_background = self._largest(self._background)
        opened = by_key > self._key_noise.threshold or by_background > self._background_noise.threshold
        self._key_noise.add(by_key)
        self._background_noise.add(by_background)
        self._last, self._now = self._now, self._last
        return max(by_key, by_background), opened

    def _follow(self, at_mono_s: float) -> None:
        """Let the background follow the picture that was compared last."""
        gap_s = at_mono_s - self._followed_mono_s
        if gap_s < _FOLLOW_EVERY_S:
            return
        self._followed_mono_s = at_mono_s
        kept = math.exp(-gap_s / _BACKGROUND_TAU_S)
        cv2.addWeighted(self._last, 1.0 - kept, self._background, kept, 0.0, dst=self._background)

    def _largest(self, other: NDArray[np.uint16]) -> float:
        return float(cv2.norm(self._now, other, cv2.NORM_INF)) / _TIMES

    def _why(self, at_mono_s: float) -> LookReason | None:
        if at_mono_s - self._changed_mono_s <= self._bounds.hold_s:
            return LookReason.SUSPECT
        # Waiting for the next key frame must not exceed the bound; a tenth of an interval is jitter, not lateness.
        usual = sorted(self._intervals)[len(self._intervals) // 2]
        late = at_mono_s + 0.9 * usual - self._looked_mono_s > self._bounds.look_every_s
        return LookReason.PATROL if late else None


class _Noise:
    """What is usual for one camera, and the threshold that follows from it.

    Twice the median plus 3: sensor noise of a quiet camera (median 2.5) gives 8. A median does not mind events while
    they fill less than half of the memory (64 key frames), and the upper bound keeps longer ones from hiding others.
    """

    def __init__(self, bounds: GateBounds) -> None:
        self._bounds = bounds
        self._values: deque[float] = deque(maxlen=_MEMORY)
        self.threshold = bounds.low

    def add(self, value: float) -> None:
        self._values.append(value)
        median = sorted(self._values)[len(self._values) // 2]
        self.threshold = min(max(2.0 * median + 3.0, self._bounds.low), self._bounds.high)
