# SPDX-License-Identifier: AGPL-3.0-or-later
"""Evidence over time: places in the picture where boxes recur, and how many looks spoke for them.

Entering needs much (several looks, one of them at the network's operating point), staying needs little. Only
looks whose change could be measured count; a box whose inside does not change never speaks for anything.
"""

from collections import deque
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from detectors.claims import TOGETHER_S, Moment
from gridwatch.core.detections import Detections
from gridwatch.core.geometry import Float32, box_area, centre, iou

FORMS_S = 8.0  # two looks of a camera at rest: for so long it is worth to look on more closely
_REMEMBERED_S = 600.0
_MOST_SITES = 24  # a picture full of reflections must not grow the memory


@dataclass(frozen=True, slots=True)
class Thresholds:
    """When recurring boxes are evidence.

    Attributes:
        low: confidence from which a box speaks for a claim at all.
        high: confidence that at least one of them must reach: the network's operating point.
        change_floor: mean absolute luma difference inside (0 to 255) below which a box is a fixture.
        looks_needed: looks in favour to open, out of the last `window_looks` and `window_s`; looks of less than a
            second count as one.
        span_s: time between the first and the last of them, at least.
    """

    low: float
    high: float
    change_floor: float
    looks_needed: int = 3
    window_looks: int = 5
    window_s: float = 24.0
    span_s: float = 2.0


@dataclass(frozen=True, slots=True)
class Mark:
    """What a measured look said of one place; `in_favour` is false for a miss or an unchanged inside.

    Looks of less than a second are one mark, in favour if one of them is: else a camera that is followed would have five
    looks behind it after two seconds, and a thing that flickers would be gone from them at once.

    Attributes:
        moment: the first of them that is in favour, else the first.
        began_s: the first of them, observed seconds.
        spoke_s: the last of them that is in favour, observed seconds; 0.0 where none is.
        looks, looks_in_favour: how many they are.
    """

    moment: Moment
    in_favour: bool
    confidence: float = 0.0
    change: float = 0.0
    area: float = 0.0
    began_s: float = 0.0
    spoke_s: float = 0.0
    looks: int = 1
    looks_in_favour: int = 0

    def and_then(self, later: "Mark") -> "Mark":
        """Return both as one."""
        weights = [(mark.in_favour, mark.confidence) for mark in (later, self)]
        return replace(
            later if weights[0] >= weights[1] else self,
            moment=self.moment if self.in_favour or not later.in_favour else later.moment,
            began_s=self.began_s,
            spoke_s=max(self.spoke_s, later.spoke_s),
            looks=self.looks + later.looks,
            looks_in_favour=self.looks_in_favour + later.looks_in_favour,
        )


@dataclass(slots=True, eq=False)
class Site:
    """A place where boxes recur: its last box and its last marks, the looks that gave the first and the last one."""

    box: Float32
    marks: deque[Mark]
    last: Moment
    began_at: datetime | None = None
    began_area: float = 0.0
    founded_s: float = 0.0  # observed

    def add(self, mark: Mark, box: Float32 | None) -> None:
        """Add one look's mark; `box` (4,) is where it was seen, None for a miss."""
        self.last = mark.moment
        if self.marks and mark.began_s - self.marks[-1].began_s < TOGETHER_S:
            self.marks[-1] = self.marks[-1].and_then(mark)
        else:
            self.marks.append(mark)
        if box is not None:
            self.box = box
        if mark.in_favour and self.began_at is None:
            self.began_at, self.began_area = mark.moment.captured_at, mark.area

    def forget_before(self, observed_s: float) -> None:
        """Drop marks older than the window."""
        while self.marks and self.marks[0].moment.observed_s < observed_s:
            self.marks.popleft()

    @property
    def in_favour(self) -> list[Mark]:
        """The marks in favour, oldest first."""
        return [mark for mark in self.marks if mark.in_favour]


class Recurrence:
    """The sites of one class in one zone."""

    def __init__(self, thresholds: Thresholds) -> None:
        self.thresholds = thresholds
        self._sites: list[Site] = []
        self._left: deque[tuple[Float32, float, float]] = deque(
            maxlen=_MOST_SITES
        )  # box, founded, left; observed s

    def __len__(self) -> int:
        return len(self._sites)

    def update(self, moment: Moment, detections: Detections) -> None:
        """Take the boxes (of one class, at least `low`) of one answered look."""
        measured = detections.where(~np.isnan(detections.change))
        if len(detections) and not len(measured):
            return  # nothing was measured in this look: it speaks neither for nor against
        owners = self._owners(measured)
        for number, site in enumerate(self._sites):
            self._mark(site, moment, measured.where(owners == number))
        for index in np.flatnonzero(owners < 0):
            self._found(moment, measured.where(np.arange(len(measured)) == index))
        self._forget(moment)

    def strongest(self) -> Site | None:
        """Return the site with most looks in favour (then most confidence), or None."""
        return max(self._sites, key=_weight, default=None)

    def entered(self) -> Site | None:
        """Return the strongest site whose evidence suffices to open a claim, or None."""
        return max(filter(self._suffices, self._sites), key=_weight, default=None)

    def forms(self, moment: Moment) -> bool:
        """Tell whether a look of the last seconds spoke for something."""
        oldest_s = moment.observed_s - FORMS_S
        return any(mark.in_favour and mark.spoke_s >= oldest_s for site in self._sites for mark in site.marks)

    def newest_place_s(self, detections: Detections) -> float:
        """Return since when boxes recur at the place of these that is the newest, observed seconds; -inf without boxes.

        To be asked after `update` with the same boxes among others: each has its place then.
        """
        owners = self._owners(detections)
        return max((self._sites[owner].founded_s for owner in owners if owner >= 0), default=float("-inf"))

    def clear(self) -> None:
        """Forget everything."""
        self._sites.clear()

    def _suffices(self, site: Site) -> bool:
        favour = site.in_favour
        if len(favour) < self.thresholds.looks_needed:
            return False
        span_s = favour[-1].spoke_s - favour[0].moment.observed_s
        best = max(mark.confidence for mark in favour)
        return span_s >= self.thresholds.span_s and best >= self.thresholds.high

    def _owners(self, detections: Detections) -> NDArray[np.int64]:
        """Return for each box the number of the site it belongs to, or -1; (N,)."""
        if not self._sites or not len(detections):
            return np.full(len(detections), -1)
        likeness = _likeness(detections.xyxy, np.stack([site.box for site in self._sites]))
        best = np.argmax(likeness, axis=1)
        return np.where(likeness[np.arange(len(best)), best] > 0, best, -1)

    def _mark(self, site: Site, moment: Moment, boxes: Detections) -> None:
        if not len(boxes):
            site.add(Mark(moment, in_favour=False, began_s=moment.observed_s), None)
            return
        alive = boxes.change >= self.thresholds.change_floor
        best = int(np.argmax(boxes.confidence + alive))  # a box that changes comes before any that does not
        area = float(box_area(boxes.xyxy[best])[0])
        mark = Mark(
            moment,
            bool(alive[best]),
            float(boxes.confidence[best]),
            float(boxes.change[best]),
            area,
            began_s=moment.observed_s,
            spoke_s=moment.observed_s if alive[best] else 0.0,
            looks_in_favour=int(alive[best]),
        )
        site.add(mark, boxes.xyxy[best])

    def _found(self, moment: Moment, box: Detections) -> None:
        # An earlier box of this very look may have founded the site already.
        owner = int(self._owners(box)[0])
        if owner >= 0 and self._sites[owner].last is moment:
            return
        site = Site(
            box.xyxy[0],
            deque(maxlen=self.thresholds.window_looks),
            moment,
            founded_s=self._founded_s(box.xyxy, moment),
        )
        self._mark(site, moment, box)
        self._sites.append(site)

    def _founded_s(self, box: Float32, moment: Moment) -> float:
        """Return since when boxes recur at the place of `box` (1, 4): what pauses for some minutes has not come anew."""
        recent = [left for left in self._left if moment.observed_s - left[2] <= _REMEMBERED_S]
        if not recent:
            return moment.observed_s
        same = _likeness(box, np.stack([left[0] for left in recent]))[0] > 0
        return min(
            (left[1] for left, is_it in zip(recent, same, strict=True) if is_it), default=moment.observed_s
        )

    def _forget(self, moment: Moment) -> None:
        for site in self._sites:
            site.forget_before(moment.observed_s - self.thresholds.window_s)
        alive = [site for site in self._sites if any(mark.confidence > 0 for mark in site.marks)]
        if len(alive) > _MOST_SITES:
            alive = sorted(alive, key=_weight, reverse=True)[:_MOST_SITES]
        for site in self._sites:
            if site not in alive:
                self._left.append((site.box, site.founded_s, moment.observed_s))
        self._sites = alive


def _weight(site: Site) -> tuple[int, float]:
    favour = site.in_favour
    return len(favour), max((mark.confidence for mark in favour), default=0.0)


def _likeness(boxes: Float32, sites: Float32) -> NDArray[np.float64]:
    """Return how well boxes (N, 4) fit sites (M, 4): (N, M), 0 where they are different places.

    Flames and smoke change their outline from look to look and their boxes split and join: it is the same
    place if the boxes overlap, if one lies mostly in the other, or if their centres are near for their size.
    """
    overlap = iou(boxes, sites).astype(np.float64)
    area, site_area = box_area(boxes)[:, None], box_area(sites)[None, :]
    shared = overlap * (area + site_area) / (1 + overlap)
    contained = shared / np.maximum(np.minimum(area, site_area), 1e-9)
    size = np.sqrt(np.maximum(np.minimum(area, site_area), 1e-9))
    away = np.linalg.norm(centre(boxes)[:, None, :] - centre(sites)[None, :, :], axis=2) / size
    same = (overlap >= 0.25) | (contained >= 0.6) | (away <= 0.5)  # noqa: PLR2004  the docstring's three
    likeness: NDArray[np.float64] = np.where(same, overlap + contained + 1e-6, 0.0)
    return likeness
