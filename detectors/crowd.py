# SPDX-License-Identifier: AGPL-3.0-or-later
"""More people in a zone than it may hold, for a time. A count of people, never of persons: nobody is followed.

Boxes count where people are sparse, the density counter where they stand densely; the larger of the two is held
against the limit, and both are facts, with an interval. Without a ground plane it is a count, not a density.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from detectors.claims import TOGETHER_S, Claim, Hold, Moment, Statement, Topic, as_boxes, in_zone
from gridwatch.core.detections import Detections, ObjectClass
from gridwatch.core.finding import Fact, Finding
from gridwatch.core.geometry import Polygon, inside
from gridwatch.core.zone import Kind, Zone

_PERSON_AT_LEAST = 0.25
_PERSON_SURELY = 0.5
_LOOK_WORTH_S = 2.0  # a look of a followed camera counts as much of one as it covers of this
_LEAVES_AT = 0.8  # share of the limit below which the zone has emptied
_MARGIN_S = 15.0  # looks come every 8 s at worst, and one of them may fall short
_SHARE_OFF, _PEOPLE_OFF = 0.25, 7.0  # the counter's measured error: in dense pictures, in light ones


@dataclass(frozen=True, slots=True)
class Count:
    """People in a zone in one look. `by_density` is None where the counter did not run."""

    by_boxes: int
    surely: int
    by_density: float | None

    @property
    def people(self) -> float:
        """The larger of the two counts."""
        return max(float(self.by_boxes), self.by_density or 0.0)

    @property
    def interval(self) -> tuple[int, int]:
        """Between how many and how many people there are, by the counter's measured error."""
        off = max(_PEOPLE_OFF, _SHARE_OFF * self.people)
        density = self.by_density or 0.0
        low = max(float(self.surely), density - max(_PEOPLE_OFF, _SHARE_OFF * density))
        return round(low), round(self.people + off)


class ZoneCounter:
    """Counts people in one polygon; keeps the polygon's mask for the last size of density map."""

    def __init__(self, polygon: Polygon) -> None:
        self._polygon = polygon
        self._mask = np.zeros((0, 0), np.bool_)

    def count(self, detections: Detections) -> tuple[Count, Detections]:
        """Return the counts and the person boxes in the zone."""
        people = detections.of(ObjectClass.PERSON, at_least=_PERSON_AT_LEAST)
        people = people.where(in_zone(people, self._polygon))
        surely = int(np.count_nonzero(people.confidence >= _PERSON_SURELY))
        return Count(len(people), surely, self._density(detections)), people

    def _density(self, detections: Detections) -> float | None:
        if detections.density is None:
            return None
        if self._mask.shape != detections.density.shape:
            self._mask = cells_inside(detections.density.shape[0], detections.density.shape[1], self._polygon)
        return float(np.sum(detections.density, where=self._mask, dtype=np.float64))


def cells_inside(rows: int, columns: int, polygon: Polygon) -> NDArray[np.bool_]:
    """Tell which cells of a grid over the picture have their centre in `polygon`: (rows, columns)."""
    y, x = np.meshgrid((np.arange(rows) + 0.5) / rows, (np.arange(columns) + 0.5) / columns, indexing="ij")
    return inside(np.stack([x.ravel(), y.ravel()], axis=1), polygon).reshape(rows, columns)


class CrowdRule:
    """Opens above the limit for the dwell, in at least two looks; ends below 0.8 of it for a while."""

    def __init__(self, camera_id: str, zone: Zone) -> None:
        self.zone = zone
        self._limit = zone.crowd
        self._counter = ZoneCounter(zone.polygon)
        hold = Hold(seconds=min(max(zone.crowd.dwell_s, 10.0), 120.0), looks=3)
        self._claim = Claim(Topic(camera_id, zone, Kind.CROWD, "count"), hold)
        # The first look above the limit since the zone was last empty. An open claim keeps it through a dip.
        self._since: Moment | None = None
        self._looks_over = self._looks = 0
        self._worth_over = self._worth = (
            0.0  # the same, a followed camera's looks by the time that they cover
        )
        self._last_s = 0.0
        self._filled_s = float("-inf")  # the last look that did not find the zone emptied, observed seconds

    @property
    def is_forming(self) -> bool:
        """Whether there were more people than the limit since the zone was last empty."""
        return self._since is not None

    @property
    def claims_within_s(self) -> float:
        """Observed seconds within which a crowd that is there at the first look is claimed."""
        return self._limit.dwell_s + _MARGIN_S

    def update(self, moment: Moment, detections: Detections) -> list[Finding]:
        """Take one answered look; return what is to be said."""
        step_s, self._last_s = moment.observed_s - self._last_s, moment.observed_s
        worth = min(1.0, step_s / _LOOK_WORTH_S) if moment.followed else 1.0
        count, boxes = self._counter.count(detections)
        over = count.people > self._limit.limit
        if count.people < _LEAVES_AT * self._limit.limit:
            return self._below(moment, worth)
        self._filled_s = moment.observed_s
        if self._since is None:
            if not over:
                return self._claim.advance(moment, None)
            self._since, self._looks_over, self._looks = moment, 0, 0
            self._worth_over = self._worth = 0.0
        self._count(worth, over=over)
        statement = self._statement(moment, self._since, count, boxes)
        return self._claim.advance(moment, replace(statement, enters=over and statement.enters))

    def _count(self, worth: float, *, over: bool) -> None:
        self._looks_over, self._worth_over = self._looks_over + over, self._worth_over + over * worth
        self._looks, self._worth = self._looks + 1, self._worth + worth

    def _below(self, moment: Moment, worth: float) -> list[Finding]:
        self._count(worth, over=False)
        said = self._claim.advance(moment, None)
        # A followed camera has many more looks that may fall short: one alone does not empty a zone.
        if not self._claim.is_open and moment.observed_s - self._filled_s >= TOGETHER_S:
            self._since = None
        return said

    def _statement(self, moment: Moment, since: Moment, count: Count, boxes: Detections) -> Statement:
        dwell_s = moment.observed_s - since.observed_s
        # Looks between 0.8 of the limit and the limit keep the dwell but must not carry it.
        enough = self._looks_over >= 2 and 2 * self._worth_over > self._worth  # noqa: PLR2004  two looks
        return Statement(
            enters=enough and dwell_s >= self._limit.dwell_s,
            stays=True,
            began_at=since.captured_at,
            boxes=as_boxes(boxes),
            facts=self._facts(count, dwell_s),
        )

    def _facts(self, count: Count, dwell_s: float) -> dict[str, Fact]:
        low, high = count.interval
        return {
            "count": round(count.people),
            "count_low": low,
            "count_high": high,
            "people_by_boxes": count.by_boxes,
            "people_by_density": None if count.by_density is None else round(count.by_density, 1),
            "limit": self._limit.limit,
            "dwell_s": round(dwell_s, 1),
            "looks_in_favour": self._looks_over,
            "looks_taken": self._looks,
        }
