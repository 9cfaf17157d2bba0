# SPDX-License-Identifier: AGPL-3.0-or-later
"""How much the inside of each box changed since a look before. Measures only; judges nothing."""

from collections import deque
from dataclasses import dataclass
from statistics import median_low

import cv2
import numpy as np
from numpy.typing import NDArray

from gridwatch.core.detections import Detections, ObjectClass
from gridwatch.core.geometry import Float32
from gridwatch.core.look import Look, LookReason

_WIDTH, _HEIGHT = 320, 180  # averaging over 6 × 6 pixels of 1080p takes most of the sensor's noise away
# Against an older picture daylight and shadows would count as change. A camera that is looked at seldom has no newer
# one: its own cadence decides then (a look missed or two included), up to where no picture says anything any more.
_OLDEST_S, _OLDEST_EVER_S = 20.0, 120.0
_INTERVALS, _USUAL = 5, 3.0
_CUT = 32.0  # median difference of the whole picture: fixed cameras stay below 20, slow pans below 30
# Looks of a followed camera come twice a second, and smoke drifts little in so short a time: what the rules hold against
# their floors was measured between key frames, so these looks are compared with one about as far away.
_APART_S, _APART_AT_MOST_S = 1.8, 6.0


@dataclass(frozen=True, slots=True)
class _Past:
    """A look as it is remembered; `luma` (180, 320) uint8, `size` of the picture in pixels."""

    at_mono_s: float
    luma: NDArray[np.uint8]
    size: tuple[int, int]
    followed: bool


class ChangeMeter:
    """Keeps the lumas of the last answered looks at 320 × 180 (one, or two seconds of a followed camera) and their intervals.

    Attributes:
        compared_mono_s: the time of the look that the last one was compared with; None where it was not.
    """

    def __init__(self) -> None:
        self._past: deque[_Past] = deque()
        self._intervals_s: deque[float] = deque(maxlen=_INTERVALS)
        self.compared_mono_s: float | None = None

    def measure(self, look: Look, detections: Detections) -> Detections:
        """Return `detections` with `change` measured against the look before, and remember this look.

        A look of a followed camera is measured against one that is about 2 s older. NaN (not measured) at the first look,
        when the look before is too old (more than 20 s and more than three times the usual interval between looks, or more
        than 120 s), and when the picture as a whole is another one: another size, a black picture before, a camera that turns
        or shakes. The median difference outside the boxes is subtracted first, so that a camera whose exposure hunts does
        not make a lamp flicker: for fire and smoke outside those, for all others outside those, because a camera's zones
        decide which of the two the network is asked for, and what it says of the one must not depend on the other.
        """
        luma = cv2.resize(look.frame.luma(), (_WIDTH, _HEIGHT), interpolation=cv2.INTER_AREA)
        size = (look.frame.width, look.frame.height)
        now = _Past(look.at_mono_s, luma, size, look.why is LookReason.FOLLOW)
        before = self._before(now) if self._is_fresh(now) else None
        self._remember(now)
        self.compared_mono_s = None
        if before is None or before.size != size:
            return detections.with_change(np.full(len(detections), np.nan, np.float32))
        difference = luma.astype(np.int16) - before.luma
        if is_cut(difference):
            return detections.with_change(np.full(len(detections), np.nan, np.float32))
        self.compared_mono_s = before.at_mono_s
        burning = np.isin(detections.class_id, (ObjectClass.FIRE, ObjectClass.SMOKE))
        change = np.zeros(len(detections), np.float32)
        for together in (burning, ~burning):
            if together.any():
                change[together] = changes_inside(difference, detections.xyxy[together])
        return detections.with_change(change)

    def _before(self, now: _Past) -> _Past:
        last = self._past[-1]
        if not now.followed and not last.followed:
            return last
        far = [past for past in self._past if now.at_mono_s - past.at_mono_s >= _APART_S]
        if far and (now.at_mono_s - far[-1].at_mono_s <= _APART_AT_MOST_S or far[-1] is last):
            return far[-1]
        return self._past[len(far)]  # the oldest that is not far

    def _remember(self, now: _Past) -> None:
        if not now.followed:
            self._past.clear()
        while len(self._past) > 1 and now.at_mono_s - self._past[1].at_mono_s >= _APART_S:
            self._past.popleft()
        self._past.append(now)

    def _is_fresh(self, now: _Past) -> bool:
        """Tell whether the look before is recent enough to compare with, and note the interval."""
        if not self._past:
            return False
        age_s = now.at_mono_s - self._past[-1].at_mono_s
        # One long gap is not yet a cadence: only the intervals before it say what is usual.
        usual_s = median_low(self._intervals_s) if self._intervals_s else 0.0
        if not now.followed:
            self._intervals_s.append(age_s)
        return 0.0 <= age_s <= min(max(_OLDEST_S, _USUAL * usual_s), _OLDEST_EVER_S)


def is_cut(difference: NDArray[np.int16]) -> bool:
    """Tell whether two luma pictures show different views, by their signed difference (rows, columns)."""
    return float(np.median(np.abs(difference - np.median(difference)))) > _CUT


def changes_inside(difference: NDArray[np.int16], xyxy: Float32) -> Float32:
    """Return each box's mean absolute difference, (N,), after the outside's median is taken away.

    Args:
        difference: (rows, columns), signed difference of two luma pictures.
        xyxy: (N, 4), normalised.
    """
    spans = [_pixels(box, difference.shape[0], difference.shape[1]) for box in xyxy]
    outside = np.ones(difference.shape, np.bool_)
    for rows, columns in spans:
        outside[rows, columns] = False
    # Boxes that cover the picture leave nothing to compare with: then the whole picture has to do.
    reference = difference[outside] if outside.mean() > 0.1 else difference  # noqa: PLR2004  a tenth
    net = np.abs(difference - np.median(reference))
    return np.array([net[rows, columns].mean() for rows, columns in spans], np.float32)


def _pixels(box: Float32, height: int, width: int) -> tuple[slice, slice]:
    x0, y0, x1, y1 = (float(value) for value in box)
    left, top = min(max(int(x0 * width), 0), width - 1), min(max(int(y0 * height), 0), height - 1)
    right, bottom = max(int(np.ceil(x1 * width)), left + 1), max(int(np.ceil(y1 * height)), top + 1)
    return slice(top, bottom), slice(left, right)
