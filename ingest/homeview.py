# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whether a camera still shows the view that its zones were drawn on, from the edges in its small luma picture.

Edges are divided by their neighbourhood's, so that a view is known again in the evening, under lamps and in infrared, and
compared in 16 × 9 blocks, so that what stands in a part of the picture says nothing about the rest. Measured on
two dozen fixed cameras and six generated scenes: of the blocks with structure at least 0.7 are kept over the clip, 0.7 after a change to
night or fog, at most 0.3 in another view or under a board over 85 % of the picture. It knows nothing of time: whoever
asks decides how long something has to last. Coordinates are pixels of the small picture halved: 160 × 90.
"""

import math
from dataclasses import dataclass
from enum import Enum, auto

import cv2
import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 160, 90
_STORED_SCALE = 40.0  # edges are at most about 6 times their neighbourhood's: stored as bytes

_BLOCKS = (16, 9)
_TEXT_ROWS = 15
_LEVELS = (0.02, 0.1, 0.999)
_NEIGHBOURHOOD = (21, 21)
_FAINT = 4.0  # steps of luma a pixel: edges far below it are noise, and count for little
_STRUCTURE = 0.08  # variance of edges in a block that has something to be known again by
_LEAST_VARIANCE = 0.02
_KEPT = 0.35  # correlation above which a block still shows the same
_JUDGEABLE = 15  # blocks of 144; a wall, fog and a dark night have fewer
_HOME, _LOST = 0.55, 0.32
_SAME_APPEARANCE = 0.7
_PLAIN_SHARE, _PLAIN_STRENGTH = (
    0.99,
    6,
)  # an edge of five steps of luma is stronger; noise and a slope of light are not
_LEARN_PICTURES, _LEARN_S = 5, 10.0
_FOLLOW_TAU_S, _FOLLOW_EVERY_S = 300.0, 10.0
_RARELY_S = 600.0
_APPEARANCES = 4
_LEAST_SHIFT_PX = 1.5
_SHIFT_GAIN = 0.25
_CREEP_GAIN = 0.1
_CREEP_EVERY_S = 30.0
_SURELY_HOME = 0.75
_MOST_SHIFT = 0.6  # of the picture: less than the rest is not enough to be sure of a view

EdgeMap = NDArray[np.float32]


class View(Enum):
    """What one picture says about the view."""

    UNKNOWN = auto()  # nothing to know it by: not learned yet, or no structure
    HOME = auto()
    UNCLEAR = auto()  # partly hidden, or changed: evidence for nothing
    SHIFTED = auto()  # the same surroundings, from another angle
    LOST = auto()  # nothing of the home view is there


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """What is compared of one picture.

    Attributes:
        edges: (90, 160) float32, relative to their neighbourhood's.
        detail: mean edge strength, steps of luma.
        level: mean luma.
        low, middling, high: luma that 2 %, 10 % and 99.9 % of the pixels do not exceed; without the upper and lower sixth, where
            text is written into pictures.
        coarse: (9, 16) float32, mean luma of each block.
        small, half: the luma itself, as it came and halved.
    """

    edges: EdgeMap
    detail: float
    level: float
    low: int
    middling: int
    high: int
    coarse: EdgeMap
    small: NDArray[np.uint8]
    half: NDArray[np.uint8]


def look_at(small: NDArray[np.uint8]) -> Picture:
    """Take from a picture (180, 320) uint8 luma what is compared."""
    half = cv2.resize(small, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    coarse = _blocks(half).astype(np.float32)
    low, middling, high = _levels(half[_TEXT_ROWS:-_TEXT_ROWS])
    half = cv2.GaussianBlur(half, (3, 3), 0)
    strength = _strength(half)
    around = cv2.boxFilter(strength, cv2.CV_32F, _NEIGHBOURHOOD)
    detail = float(cv2.mean(strength)[0])
    edges = cv2.divide(strength, cv2.add(around, _FAINT), dtype=cv2.CV_32F)
    level = float(cv2.mean(coarse)[0])
    return Picture(edges, detail, level, low, middling, high, coarse, small, half)


def is_plain(picture: Picture) -> bool:
    """Tell whether there is no edge in it, but for text near its upper and lower rim: nothing is to be seen, at whatever level."""
    strength = _strength(picture.half)[_TEXT_ROWS:-_TEXT_ROWS]
    counts = cv2.calcHist([strength], [0], None, [256], [0, 256]).ravel()
    return float(counts[: _PLAIN_STRENGTH + 1].sum()) >= _PLAIN_SHARE * strength.size


def _strength(half: NDArray[np.uint8]) -> NDArray[np.uint8]:
    across, down = cv2.Sobel(half, cv2.CV_16S, 1, 0), cv2.Sobel(half, cv2.CV_16S, 0, 1)
    strength: NDArray[np.uint8] = cv2.addWeighted(
        cv2.convertScaleAbs(across), 0.5, cv2.convertScaleAbs(down), 0.5, 0.0
    )
    return strength


def _levels(rows: NDArray[np.uint8]) -> tuple[int, int, int]:
    counts = np.cumsum(cv2.calcHist([rows], [0], None, [256], [0, 256]).ravel())
    low, middling, high = np.searchsorted(counts, np.array(_LEVELS) * rows.size)
    return int(low), int(middling), int(high)


def sharpness(picture: Picture) -> float:
    """Return how sharp the strongest edges are: it falls by half or more when a picture is blurred, and hardly with light.

    The second derivative across at the sharpest half percent of pixels, against the same at half the size.
    """
    every_third = picture.small[::3]  # enough rows for half a percent, at a third of the cost
    return _sharpest(every_third, 1.0) / (_sharpest(picture.half, 2.0) + 4.0)


def _sharpest(luma: NDArray[np.uint8], scale: float) -> int:
    bends = cv2.convertScaleAbs(cv2.Sobel(luma, cv2.CV_16S, 2, 0, ksize=1), alpha=scale)
    counts = cv2.calcHist([bends], [0], None, [256], [0, 256]).ravel()
    return 255 - int(np.searchsorted(np.cumsum(counts[::-1]), 0.005 * bends.size))


def _blocks(values: EdgeMap | NDArray[np.uint8]) -> EdgeMap:
    mean: EdgeMap = cv2.resize(values, _BLOCKS, interpolation=cv2.INTER_AREA)
    return mean


class _Reference:
    """One appearance of the view, and what its blocks hold."""

    __slots__ = ("_mean", "_structured", "_variance", "edges")

    def __init__(self, edges: EdgeMap) -> None:
        self.edges = edges
        self.measure()

    def copy(self) -> "_Reference":
        """Return another one that shows the same."""
        return _Reference(self.edges.copy())

    def measure(self) -> None:
        """Work the blocks out anew, after `edges` changed."""
        self._mean = _blocks(self.edges)
        self._variance = _blocks(cv2.multiply(self.edges, self.edges)) - self._mean * self._mean
        self._structured = self._variance > _STRUCTURE

    @property
    def judgeable(self) -> bool:
        """Whether there is enough in it to be known again by."""
        return int(np.count_nonzero(self._structured)) >= _JUDGEABLE

    def kept(self, edges: EdgeMap) -> float:
        """Return the share of blocks with structure that show the same in `edges`; 0 where there are none."""
        return self._share(edges, self._structured)

    def kept_at(self, edges: EdgeMap, dx: int, dy: int) -> float:
        """Return the same where the picture had moved by (dx, dy) pixels, over the part that both show."""
        moved = cv2.warpAffine(
            edges, np.array([[1, 0, -dx], [0, 1, -dy]], np.float32), (WIDTH, HEIGHT), flags=cv2.INTER_NEAREST
        )
        both = np.zeros((HEIGHT, WIDTH), np.float32)
        both[max(0, -dy) : HEIGHT - max(0, dy), max(0, -dx) : WIDTH - max(0, dx)] = 1.0
        inside = self._structured & (_blocks(both) > 0.99)  # noqa: PLR2004  whole blocks only
        return self._share(moved, inside) if np.count_nonzero(inside) >= _JUDGEABLE else 0.0

    def _share(self, edges: EdgeMap, which: NDArray[np.bool_]) -> float:
        among = int(np.count_nonzero(which))
        if among == 0:
            return 0.0
        mean = _blocks(edges)
        variance = np.maximum(_blocks(cv2.multiply(edges, edges)) - mean * mean, _LEAST_VARIANCE)
        together = _blocks(cv2.multiply(edges, self.edges)) - mean * self._mean
        # correlation above _KEPT, without the roots
        same = (together > 0) & (
            together * together > _KEPT**2 * variance * np.maximum(self._variance, _LEAST_VARIANCE)
        )
        return int(np.count_nonzero(same & which)) / among

    def follow(self, edges: EdgeMap, share: float) -> None:
        """Go `share` of the way towards `edges`."""
        cv2.accumulateWeighted(edges, self.edges, share)
        self.measure()


class HomeView:
    """The view of one camera that is at home: learned from its first steady pictures, then only followed.

    What it looks like by day and by night is kept apart, at most four appearances; the first is never forgotten. A new view
    becomes home by `accept` alone.

    Args:
        stored: what `stored` of an earlier one returned; (n, 90, 160) uint8.
    """

    def __init__(self, stored: NDArray[np.uint8] | None = None) -> None:
        self._appearances: list[_Reference] = []
        self._active: _Reference | None = None
        self._learning: _Reference | None = None
        self._pictures, self._began_mono_s, self._followed_mono_s = 0, 0.0, 0.0
        self._kept_mono_s = self._measured_mono_s = -math.inf
        self._crept = False
        if stored is not None and stored.shape[1:] == (HEIGHT, WIDTH) and len(stored):
            self._appearances = [
                _Reference(item.astype(np.float32) / _STORED_SCALE) for item in stored[:_APPEARANCES]
            ]
            self._active = self._appearances[0].copy()

    @property
    def learned(self) -> bool:
        """Whether there is a home view."""
        return self._active is not None

    @property
    def unsteady(self) -> bool:
        """Whether pictures with structure came, and no view has stayed yet."""
        return self._active is None and self._learning is not None and self._learning.judgeable

    def stored(self) -> NDArray[np.uint8] | None:
        """Return what outlasts a restart, (n, 90, 160) uint8; None while nothing is learned."""
        kept = list(self._appearances)  # who keeps it is another thread than who judges
        if not kept:
            return None
        return np.stack([cv2.convertScaleAbs(item.edges, alpha=_STORED_SCALE) for item in kept])

    def accept(self) -> None:
        """Learn the view anew: somebody says that what is shown now is what zones are drawn on."""
        self._appearances.clear()
        self._active = self._learning = None
        self._crept = False

    def judge(self, picture: Picture, at_mono_s: float) -> View:
        """Return what `picture` says about the view; follow slow changes while it is at home."""
        if self._active is None:
            self._learn(picture.edges, at_mono_s)
            return View.UNKNOWN
        view = self._compare(self._active, picture.edges, at_mono_s)
        follows = view in {View.HOME, View.UNCLEAR} or (view is View.UNKNOWN and not self._active.judgeable)
        if follows:
            self._follow(self._active, picture.edges, at_mono_s, slowly=view is View.UNCLEAR)
        else:
            self._followed_mono_s = at_mono_s  # what was not followed is not made up for
        return view

    def _follow(self, active: _Reference, edges: EdgeMap, at_mono_s: float, *, slowly: bool) -> None:
        gap_s = at_mono_s - self._followed_mono_s
        if 0.0 <= gap_s < _FOLLOW_EVERY_S:
            return
        self._followed_mono_s = at_mono_s
        tau_s = _FOLLOW_TAU_S * (10.0 if slowly else 1.0)
        active.follow(edges, 1.0 - math.exp(-min(max(0.0, gap_s), _RARELY_S) / tau_s))
        if not slowly:
            self._remember(active, at_mono_s)

    def _learn(self, edges: EdgeMap, at_mono_s: float) -> None:
        """Take the first view that stays."""
        steady = self._learning
        if steady is None or (steady.judgeable and steady.kept(edges) < _HOME):
            self._learning, self._pictures, self._began_mono_s = _Reference(edges.copy()), 1, at_mono_s
            return
        self._pictures += 1
        steady.follow(edges, max(0.1, 1.0 / self._pictures))
        lasted_s = at_mono_s - self._began_mono_s
        if self._pictures >= _LEARN_PICTURES and lasted_s >= _LEARN_S and steady.judgeable:
            self._active, self._learning = steady, None
            self._appearances = [steady.copy()]
            self._kept_mono_s = self._measured_mono_s = self._followed_mono_s = at_mono_s

    def _compare(self, active: _Reference, edges: EdgeMap, at_mono_s: float) -> View:
        kept = active.kept(edges) if active.judgeable else 0.0
        if kept >= _HOME:
            return self._at_home(edges, at_mono_s, kept)
        best, kept = max(((item, item.kept(edges)) for item in self._appearances), key=lambda pair: pair[1])
        if kept >= _HOME:
            self._active = best.copy()
            return self._at_home(edges, at_mono_s, kept)
        if not active.judgeable and not _Reference(edges).judgeable:
            return View.UNKNOWN  # as dark, or as flat, as it has been for a while
        if _shifted(best, edges, kept, _SHIFT_GAIN):
            return View.SHIFTED
        return View.LOST if max(kept, active.kept(edges)) < _LOST else View.UNCLEAR

    def _at_home(self, edges: EdgeMap, at_mono_s: float, kept: float) -> View:
        """Look now and then for a small shift, or one so slow that it was followed."""
        every_s = _CREEP_EVERY_S if kept >= _SURELY_HOME else _CREEP_EVERY_S / 3
        if self._crept or at_mono_s - self._measured_mono_s >= every_s:
            self._measured_mono_s = at_mono_s
            best, kept = max(
                ((item, item.kept(edges)) for item in self._appearances), key=lambda pair: pair[1]
            )
            self._crept = _shifted(best, edges, kept, _CREEP_GAIN)
        return View.SHIFTED if self._crept else View.HOME

    def _remember(self, active: _Reference, at_mono_s: float) -> None:
        """Keep an appearance that is unlike those kept, now and then."""
        if at_mono_s - self._kept_mono_s < _RARELY_S or not active.judgeable:
            return
        self._kept_mono_s = at_mono_s
        if all(item.kept(active.edges) < _SAME_APPEARANCE for item in self._appearances):
            if len(self._appearances) == _APPEARANCES:
                del self._appearances[1]
            self._appearances.append(active.copy())


def _shifted(reference: _Reference, edges: EdgeMap, kept: float, gain: float) -> bool:
    """Tell whether the picture is the view moved as a whole: put back, it must be the same again.

    Args:
        kept: the share that is the same without putting it back.
        gain: by how much it must rise.
    """
    window = cv2.createHanningWindow((WIDTH, HEIGHT), cv2.CV_32F)
    # phaseCorrelate multiplies its arguments by the window in place where their size suits it: give it copies
    (across, down), _ = cv2.phaseCorrelate(reference.edges.copy(), edges.copy(), window)
    near = math.hypot(across, down) < _LEAST_SHIFT_PX
    if near or abs(across) > _MOST_SHIFT * WIDTH or abs(down) > _MOST_SHIFT * HEIGHT:
        return False
    back = reference.kept_at(edges, round(across), round(down))
    return back >= _HOME and back >= kept + gain
