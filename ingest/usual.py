# SPDX-License-Identifier: AGPL-3.0-or-later
"""What one camera's pictures are like while all is well: their light, detail and sharpness. Pure; `health` says when they are.

What was found out can be taken up again after a restart: it holds no times then, and weighs as much as before.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ingest.homeview import Picture, View, sharpness

_BLUR_ENTER, _BLUR_LEAVE = 0.5, 0.65
_FLATTENED, _DARKENED, _DARK_LEVEL = 0.4, 0.6, 90.0
_SAME_LIGHT = 0.7  # correlation of coarse luma: a picture out of focus keeps it, a covered one does not
_TAU_S, _EVERY_S = 600.0, 10.0
_PICTURES = 8


@dataclass(frozen=True, slots=True, eq=False)
class Light:
    """What is usual, as it outlasts a restart.

    Attributes:
        sharpness: see `homeview.sharpness`.
        level, detail: mean luma, and mean edge strength in steps of luma.
        coarse: (9, 16) float32, mean luma of each block.
    """

    sharpness: float
    level: float
    detail: float
    coarse: NDArray[np.float32]


class _Average:
    """A slow average of one value over time; its first values count alike."""

    __slots__ = ("_seen_mono_s", "pictures", "value")

    def __init__(self, value: float | None = None) -> None:
        self.value, self.pictures = (0.0, 0) if value is None else (value, _PICTURES)
        self._seen_mono_s: float | None = None

    def add(self, value: float, at_mono_s: float) -> float:
        """Take the next value; return the share that it had."""
        before_mono_s = at_mono_s if self._seen_mono_s is None else self._seen_mono_s
        gap_s, self._seen_mono_s = max(0.0, at_mono_s - before_mono_s), at_mono_s
        self.pictures += 1
        share = 1.0 - math.exp(-gap_s / _TAU_S)
        if self.pictures <= _PICTURES:
            share = max(share, 1.0 / self.pictures)
        self.value += share * (value - self.value)
        return share


class UsualLight:
    """What one camera's pictures are like while all is well.

    Args:
        light: what `kept` of an earlier one returned.
    """

    def __init__(self, light: Light | None = None) -> None:
        self._level, self._detail, self._sharpness = (
            (_Average(), _Average(), _Average())
            if light is None
            else (_Average(light.level), _Average(light.detail), _Average(light.sharpness))
        )
        self._coarse = None if light is None else light.coarse
        self._added_mono_s = 0.0

    @property
    def knows_sharpness(self) -> bool:
        """Whether enough was measured to compare with."""
        return self._sharpness.pictures >= _PICTURES

    def kept(self) -> Light | None:
        """Return what outlasts a restart; None while too little is known."""
        if not self.knows_sharpness or self._level.pictures < _PICTURES or self._coarse is None:
            return None
        return Light(self._sharpness.value, self._level.value, self._detail.value, self._coarse)

    def add(self, picture: Picture, at_mono_s: float) -> None:
        """Take a good picture, now and then."""
        if self._level.pictures >= _PICTURES and 0.0 <= at_mono_s - self._added_mono_s < _EVERY_S:
            return
        self._added_mono_s = at_mono_s
        share = np.float32(self._level.add(picture.level, at_mono_s))
        self._detail.add(picture.detail, at_mono_s)
        before = picture.coarse if self._coarse is None else self._coarse
        self._coarse = before + share * (picture.coarse - before)

    def is_blurred(self, picture: Picture, view: View, at_mono_s: float) -> bool | None:
        """Tell whether a picture is far less sharp than usual; None where that cannot be said.

        One that is far out of focus is lost as a view: then it must have the usual light in the usual places.
        """
        if view is View.UNKNOWN or (view is View.LOST and not self._has_light_of(picture)):
            return None
        now = sharpness(picture)
        if self.knows_sharpness and now < _BLUR_ENTER * self._sharpness.value:
            return True
        if self.knows_sharpness and now <= _BLUR_LEAVE * self._sharpness.value:
            return None
        if view is View.HOME:
            self._sharpness.add(now, at_mono_s)
        return False if self.knows_sharpness else None

    def is_hidden_by(self, picture: Picture) -> bool:
        """Tell whether something stands before the lens: little detail, or dark, and not the usual light."""
        if self._level.pictures < _PICTURES or self._has_light_of(picture):
            return False
        flattened = picture.detail < _FLATTENED * self._detail.value
        return flattened or picture.level < min(_DARKENED * self._level.value, _DARK_LEVEL)

    def _has_light_of(self, picture: Picture) -> bool:
        if self._coarse is None:
            return False
        one, other = self._coarse - self._coarse.mean(), picture.coarse - picture.coarse.mean()
        together = float((one * other).sum())
        return together > _SAME_LIGHT * math.sqrt(float((one * one).sum()) * float((other * other).sum()))
