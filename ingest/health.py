# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whether one camera's picture can be believed: not frozen, black, washed out, covered, blurred or moved. Pure.

It judges the picture, from small luma alone, and knows nothing of connections, packets or the network (see `sight`).
Every fault has to last before it is told and is taken back after a few good pictures: headlights, a lorry before the lens and
a shower are no faults of a camera. What cannot be told from pictures stands in docs/sight.md.
"""

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from gridwatch.core.camera import Fault
from ingest.freshnoise import FreshNoise
from ingest.homeview import HomeView, Picture, View, is_plain, look_at
from ingest.kept import Home, Usual
from ingest.recurrence import Recurrence
from ingest.usual import UsualLight

WIDTH, HEIGHT = 320, 180

_BLACK_LEVEL, _BLACK_SPREAD = 34, 12  # video black is 16; one lamp, window or star-lit sky is above
_WHITE_LEVEL = 200
_FLAT_SPREAD, _FLAT_LEVEL = 18, 90
_PLAIN_SPREAD = 12
_SHARPNESS_EVERY_S = 5.5
# While all is well and nothing changes; only what changes slowly waits so long. Noise of a usual camera makes a mean
# difference below 1.5 levels; another view, or one out of focus, makes a larger one.
_JUDGED_EVERY_S, _SAME_LEVELS = 5.5, 1.5
_ASKED_EVERY_S = 10.0
_TAKEN_DOWN_EVERY_S = 3600.0  # what is taken down anew is written to the disk anew
_STEADY_PICTURES = 3


@dataclass(frozen=True, slots=True)
class Seen:
    """What a picture, and those before it, say.

    Attributes:
        fault: what is wrong with the camera's picture; None if nothing is.
        at_home: it is the view that zones were drawn on.
        since_mono_s: when the fault began, which is earlier than when it had lasted long enough; None without one.
    """

    fault: Fault | None
    at_home: bool
    since_mono_s: float | None = None


@dataclass(frozen=True, slots=True)
class HealthBounds:
    """How long a fault lasts before it is told, seconds (and three pictures at least); back after so many good pictures."""

    black_s: float = 12.0
    washed_out_s: float = 20.0
    covered_s: float = 20.0
    moved_s: float = 20.0
    blurred_s: float = 25.0
    good_pictures: int = 2


class PictureHealth:
    """Judges the pictures of one camera. One thread at a time, but for `accept` and `home`.

    Args:
        patrols: the camera is a dome that turns by itself: away from home is elsewhere, at once, and nothing is moved.
        home: what `home` of an earlier one returned, so that a move, and what else was wrong, is noticed over a restart.
    """

    def __init__(
        self,
        *,
        patrols: bool = False,
        home: Home | None = None,
        bounds: HealthBounds | None = None,
    ) -> None:
        bounds = bounds or HealthBounds()
        self._patrols = patrols
        self._view = HomeView(None if home is None else home.views)
        self._known = Usual() if home is None else home.usual
        self._recurrence, self._noise = Recurrence(self._known.shared), FreshNoise(self._known.noise)
        self._black = _Lasting(bounds.black_s, bounds.good_pictures)
        self._washed_out = _Lasting(bounds.washed_out_s, bounds.good_pictures)
        self._covered = _Lasting(bounds.covered_s, bounds.good_pictures)
        self._plain = _Lasting(bounds.covered_s, bounds.good_pictures)
        self._moved = _Lasting(bounds.moved_s, bounds.good_pictures)
        self._away = _Lasting(0.0, bounds.good_pictures, pictures=1)
        self._blurred = _Lasting(bounds.blurred_s, bounds.good_pictures)
        self._usual = UsualLight(self._known.light)
        self._lastings = (
            self._black,
            self._washed_out,
            self._covered,
            self._plain,
            self._moved,
            self._away,
            self._blurred,
        )
        self._sharp_mono_s = self._well_mono_s = self._taken_down_mono_s = -math.inf
        self._asked_mono_s = -math.inf
        self._well, self._well_small = Seen(None, at_home=True), np.empty((HEIGHT, WIDTH), np.uint8)
        self._accepted = False

    def see(self, small: NDArray[np.uint8], at_mono_s: float, *, is_key: bool = True) -> Seen:
        """Take the next picture: (180, 320) uint8 luma of the whole of it, and its time, seconds, which does not fall.

        Args:
            is_key: it was coded without others. Only such pictures tell whether the camera is frozen: others repeat what
                was before them by design.
        """
        if self._accepted:
            self._learn_anew()
        if is_key:
            self._recurrence.see(small, at_mono_s, shrunk=self._noise.shrunk)
        if self._is_still_well(small, at_mono_s):
            if is_key:
                self._noise.see(small, at_mono_s, repeated=self._recurrence.repeated)
            return self._say() if self._frozen else self._well
        picture = look_at(small)
        spread = picture.high - picture.low
        black = picture.high <= _BLACK_LEVEL and spread <= _BLACK_SPREAD
        bright = picture.middling >= _WHITE_LEVEL or (spread <= _FLAT_SPREAD and picture.low >= _FLAT_LEVEL)
        plain = not black and (bright or spread <= _PLAIN_SPREAD) and is_plain(picture)
        self._black.vote(at_mono_s, black)
        self._washed_out.vote(at_mono_s, bright)
        self._plain.vote(at_mono_s, plain and spread <= _PLAIN_SPREAD and not self._patrols)
        unknown = black or (bright and not plain) or (plain and not self._view.learned)
        view = View.UNKNOWN if unknown else self._view.judge(picture, at_mono_s)
        if view is not View.HOME:
            self._noise.restart()
        elif is_key:
            self._noise.see(small, at_mono_s, repeated=self._recurrence.repeated)
        if plain or not self._frozen:
            self._vote_on_view(picture, view, at_mono_s, plain=plain)
        self._take_down(view, at_mono_s)
        self._remember(small, view, at_mono_s)
        return self._say()

    def accept(self) -> None:
        """Learn the home view anew from the next picture on: somebody says that it is what zones are drawn on. Any thread."""
        self._accepted = True

    def home(self) -> Home | None:
        """Return what is to be kept over a restart; None while no home view is known. Any thread."""
        known = self._known
        views = self._views()
        return None if views is None else Home(views, known)

    def _views(self) -> NDArray[np.uint8] | None:
        return None if self._accepted else self._view.stored()

    def _learn_anew(self) -> None:
        self._view.accept()
        self._well_mono_s = -math.inf
        self._usual, self._known = UsualLight(), Usual()
        for lasting in (self._covered, self._moved, self._away, self._blurred):
            lasting.clear()
        self._accepted = False  # after the old view is gone: `home` asks

    @property
    def _frozen(self) -> bool:
        return self._recurrence.frozen or self._noise.frozen

    def _is_still_well(self, small: NDArray[np.uint8], at_mono_s: float) -> bool:
        """Tell whether a picture hardly differs from one that was judged a moment ago, in which nothing was wrong.

        Then nothing is wrong in it either, and judging it would cost most of what a key frame costs beside its decoding.
        """
        if not 0.0 <= at_mono_s - self._well_mono_s < _JUDGED_EVERY_S or self._frozen:
            return False
        return cv2.norm(small, self._well_small, cv2.NORM_L1) <= _SAME_LEVELS * small.size

    def _remember(self, small: NDArray[np.uint8], view: View, at_mono_s: float) -> None:
        """Keep a picture in which nothing is wrong, its sharpness included, nor was a moment ago; a dome is judged each time."""
        doubts = self._doubts
        measured = self._usual.knows_sharpness and self._sharp_mono_s == at_mono_s
        if self._patrols or doubts or not measured or view is not View.HOME:
            self._well_mono_s = -math.inf
            return
        self._well_mono_s = at_mono_s
        np.copyto(self._well_small, small)

    @property
    def _doubts(self) -> bool:
        return any(lasting.began_mono_s is not None for lasting in self._lastings)

    def _take_down(self, view: View, at_mono_s: float) -> None:
        """Take down what is usual while all is well, now and then; and the picture that it is frozen at, once."""
        known, noise = self._known, self._noise
        if noise.frozen and known.noise.still is None:
            self._known = replace(known, noise=replace(known.noise, still=noise.kept().still))
        if 0.0 <= at_mono_s - self._asked_mono_s < _ASKED_EVERY_S:
            return
        if view is not View.HOME or self._doubts or noise.doubtful or self._frozen:
            return
        self._asked_mono_s = at_mono_s
        now = Usual(self._usual.kept(), self._recurrence.kept(), noise.kept())
        is_old = not 0.0 <= at_mono_s - self._taken_down_mono_s < _TAKEN_DOWN_EVERY_S
        if is_old or now.known > known.known or known.noise.still is not None:
            self._known, self._taken_down_mono_s = now, at_mono_s

    def _vote_on_view(self, picture: Picture, view: View, at_mono_s: float, *, plain: bool) -> None:
        blurred = None if plain else self._is_blurred(picture, view, at_mono_s)
        gone = view in {View.SHIFTED, View.LOST} and not blurred
        lost = gone and view is View.LOST and not self._patrols
        hidden = lost and (plain or self._usual.is_hidden_by(picture))
        if view is View.HOME and not blurred and not self._blurred.told:
            self._usual.add(picture, at_mono_s)
        known = gone or view is View.HOME
        self._covered.vote(at_mono_s, hidden if known else None)
        self._moved.vote(at_mono_s, gone if known and not hidden else None)
        self._away.vote(at_mono_s, gone if known and not hidden else None)
        self._blurred.vote(at_mono_s, blurred)

    def _is_blurred(self, picture: Picture, view: View, at_mono_s: float) -> bool | None:
        """Measure sharpness now and then while all is well, and of each picture that is not."""
        well = view is View.HOME and self._usual.knows_sharpness and not self._blurred.told
        if well and 0.0 <= at_mono_s - self._sharp_mono_s < _SHARPNESS_EVERY_S:
            return None
        blurred = self._usual.is_blurred(picture, view, at_mono_s)
        self._sharp_mono_s = -math.inf if blurred else at_mono_s
        return blurred

    def _say(self) -> Seen:
        away = self._patrols and (self._away.told or self._view.unsteady)
        moved = self._moved.told and not self._patrols
        told = (
            (Fault.BLACK, self._black.told, self._black),
            # what stands before the lens has no new noise either, and may be white
            (Fault.COVERED, self._covered.told, self._covered),
            (Fault.COVERED, self._plain.told, self._plain),
            (Fault.FROZEN, self._recurrence.frozen, self._recurrence),
            (Fault.FROZEN, self._noise.frozen, self._noise),
            (Fault.WASHED_OUT, self._washed_out.told, self._washed_out),
            (Fault.ELSEWHERE, away, self._away),
            (Fault.MOVED, moved, self._moved),
            (Fault.BLURRED, self._blurred.told, self._blurred),
        )
        fault, began_mono_s = next(
            ((fault, since.began_mono_s) for fault, holds, since in told if holds), (None, None)
        )
        covered = self._covered.told or self._plain.told
        return Seen(fault, not (away or moved or covered), began_mono_s)


class _Lasting:
    """One fault over time: told when evidence for it has lasted, taken back after some pictures against it.

    Single pictures against it do not begin it anew; pictures that say nothing (None) change nothing.
    """

    __slots__ = ("_good", "_good_pictures", "_least", "_pictures", "_raise_s", "began_mono_s", "told")

    def __init__(self, raise_s: float, good_pictures: int, pictures: int = _STEADY_PICTURES) -> None:
        self._raise_s, self._good_pictures, self._least = raise_s, good_pictures, pictures
        self.clear()

    def clear(self) -> None:
        """Forget it."""
        self.told = False
        self.began_mono_s: float | None = None
        self._pictures = self._good = 0

    def vote(self, at_mono_s: float, evidence: bool | None) -> None:
        """Count one picture's evidence."""
        if evidence is None:
            return
        if not evidence:
            self._good += 1
            if self._good >= self._good_pictures:
                self.clear()
            return
        self._good = 0
        if self.began_mono_s is None or at_mono_s < self.began_mono_s:
            self.began_mono_s, self._pictures = at_mono_s, 0
        self._pictures += 1
        lasted = at_mono_s - self.began_mono_s >= self._raise_s
        self.told = self.told or (lasted and self._pictures >= self._least)
