# SPDX-License-Identifier: AGPL-3.0-or-later
"""How much the inside of each box changed since the look before. Measures only; judges nothing."""

from collections import deque
from statistics import median_low

import cv2
import numpy as np
from numpy.typing import NDArray

from gridwatch.core.detections import Detections, ObjectClass
from gridwatch.core.geometry import Float32
from gridwatch.core.look import Look

_WIDTH, _HEIGHT = 320, 180  # averaging over 6 × 6 pixels of 1080p takes most of the sensor's noise away
# Against an older picture daylight and shadows would count as change. A camera that is looked at seldom has no newer
# one: its own cadence decides then (a look missed or two included), up to where no picture says anything any more.
_OLDEST_S, _OLDEST_EVER_S = 20.0, 120.0
_INTERVALS, _USUAL = 5, 3.0
_CUT = 32.0  # median difference of the whole picture: fixed cameras stay below 20, slow pans below 30


class ChangeMeter:
    """Keeps the last answered look's luma at 320 × 180 and the last few intervals; compares boxes with that luma."""

    def __init__(self) -> None:
        self._last: NDArray[np.int16] | None = None
        self._size = (0, 0)
        self._at_mono_s = 0.0
        self._intervals_s: deque[float] = deque(maxlen=_INTERVALS)

    def measure(self, look: Look, detections: Detections) -> Detections:
        """Return `detections` with `change` measured against the look before, and remember this look.

        NaN (not measured) at the first look, when the look before is too old (more than 20 s and more than three
        times the usual interval between looks, or more than 120 s), and when the picture as a whole is another
        one: another size, a black picture before, a camera that turns or shakes. The median difference outside
        the boxes is subtracted first, so that a camera whose exposure hunts does not make a lamp flicker: for fire
        and smoke outside those, for all others outside those, because a camera's zones decide which of the two the
        network is asked for, and what it says of the one must not depend on the other.
        """
        luma = cv2.resize(look.frame.luma(), (_WIDTH, _HEIGHT), interpolation=cv2.INTER_AREA).astype(np.int16)
        size = (look.frame.width, look.frame.height)
        before = self._last if self._is_fresh(look) and size == self._size else None
        self._last, self._size, self._at_mono_s = luma, size, look.at_mono_s
        if before is None or is_cut(luma - before):
            return detections.with_change(np.full(len(detections), np.nan, np.float32))
        difference = luma - before
        burning = np.isin(detections.class_id, (ObjectClass.FIRE, ObjectClass.SMOKE))
        change = np.zeros(len(detections), np.float32)
        for together in (burning, ~burning):
            if together.any():
                change[together] = changes_inside(difference, detections.xyxy[together])
        return detections.with_change(change)

    def _is_fresh(self, look: Look) -> bool:
        """Tell whether the look before is recent enough to compare with, and note the interval."""
        if self._last is None:
            return False
        age_s = look.at_mono_s - self._at_mono_s
        # One long gap is not yet a cadence: only the intervals before it say what is usual.
        usual_s = median_low(self._intervals_s) if self._intervals_s else 0.0
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
