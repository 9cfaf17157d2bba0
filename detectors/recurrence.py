# SPDX-License-Identifier: AGPL-3.0-or-later
"""Evidence over time: places in the picture where boxes recur, and how many looks spoke for them.

Entering needs much (several looks, one of them at the network's operating point), staying needs little. Only
looks whose change could be measured count; a box whose inside does not change never speaks for anything.
"""

from collections import deque
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from detectors.claims import Moment
from gridwatch.core.detections import Detections
from gridwatch.core.geometry import Float32, box_area, centre, iou

_MOST_SITES = 24  # a picture full of reflections must not grow the memory


@dataclass(frozen=True, slots=True)
class Thresholds:
    """When recurring boxes are evidence.

    Attributes:
        low: confidence from which a box speaks for a claim at all.
        high: confidence that at least one of them must reach: the network's operating point.
        change_floor: mean absolute luma difference inside (0 to 255) below which a box is a fixture.
        looks_needed: looks in favour to open, out of the last `window_looks` and `window_s`.
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
    """What one measured look said of one place; `in_favour` is false for a miss or an unchanged inside."""

    moment: Moment
    in_favour: bool
    confidence: float = 0.0
    change: float = 0.0
    area: float = 0.0


@dataclass(slots=True, eq=False)
class Site:
    """A place where boxes recur: its last box and its last marks."""

    box: Float32
    marks: deque[Mark]
    began_at: datetime | None = None
    began_area: float = 0.0

    def add(self, mark: Mark, box: Float32 | None) -> None:
        """Add one look's mark; `box` (4,) is where it was seen, None for a miss."""
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

    def clear(self) -> None:
        """Forget everything."""
        self._sites.clear()

    def _suffices(self, site: Site) -> bool:
        favour = site.in_favour
        if len(favour) < self.thresholds.looks_needed:
            return False
        span_s = favour[-1].moment.observed_s - favour[0].moment.observed_s
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
            site.add(Mark(moment, in_favour=False), None)
            return
        alive = boxes.change >= self.thresholds.change_floor
        best = int(np.argmax(boxes.confidence + alive))  # a box that changes comes before any that does not
        area = float(box_area(boxes.xyxy[best])[0])
        mark = Mark(moment, bool(alive[best]), float(boxes.confidence[best]), float(boxes.change[best]), area)
        site.add(mark, boxes.xyxy[best])

    def _found(self, moment: Moment, box: Detections) -> None:
        # An earlier box of this very look may have founded the site already.
        owner = int(self._owners(box)[0])
        if owner >= 0 and self._sites[owner].marks[-1].moment is moment:
            return
        site = Site(box.xyxy[0], deque(maxlen=self.thresholds.window_looks))
        self._mark(site, moment, box)
        self._sites.append(site)

    def _forget(self, moment: Moment) -> None:
        for site in self._sites:
            site.forget_before(moment.observed_s - self.thresholds.window_s)
        alive = [site for site in self._sites if any(mark.confidence > 0 for mark in site.marks)]
        if len(alive) > _MOST_SITES:
            alive = sorted(alive, key=_weight, reverse=True)[:_MOST_SITES]
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
