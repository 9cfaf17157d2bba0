# SPDX-License-Identifier: AGPL-3.0-or-later
"""A vehicle that stands where it should not, for the zone's dwell. A queue is not one, nor what was parked before.

One claim a zone: two wrecks are one happening. No plates, no enforcement evidence.
"""

from collections.abc import Sequence

from detectors.claims import Claim, Hold, Moment, Statement, Topic, as_box, in_zone
from detectors.standing import Place, StandingPlaces, near, vehicles_of
from gridwatch.core.detections import Detections
from gridwatch.core.finding import Finding
from gridwatch.core.zone import Kind, Zone

_QUEUE = 3  # so many standing together are a queue
# What stood there at the first look may be parked where the zone was drawn too wide: a start of the program must
# not raise every parked car. Ten minutes show that it is no red light and no short stop, whatever the dwell.
_FROM_START_S = 600.0
_WAITS_S = 10.0  # from then on a vehicle is taken to wait
_ALONE_S = 10.0  # the tail of a queue that moves off is alone for some seconds
_MARGIN_S = 30.0  # looks come every 8 s at worst; the first has none before it, and a few may miss it


class TrafficRule:
    """Stopped vehicles in one zone of one camera."""

    def __init__(self, camera_id: str, zone: Zone) -> None:
        self.zone = zone
        self._dwell_s = zone.traffic.stopped_dwell_s
        self._places = StandingPlaces()
        self._claim = Claim(
            Topic(camera_id, zone, Kind.TRAFFIC, "stopped_vehicle"), Hold(seconds=10.0, looks=3)
        )
        self._claimed: list[Place] = []

    def __len__(self) -> int:
        return len(self._places)

    @property
    def claims_within_s(self) -> float:
        """Observed seconds within which what stands there at the first look is claimed, unless it is in a queue."""
        return max(self._dwell_s, _FROM_START_S) + _MARGIN_S

    def update(self, moment: Moment, detections: Detections) -> list[Finding]:
        """Take one answered look, with `change` measured; return what is to be said."""
        vehicles = vehicles_of(detections)
        self._places.update(moment, vehicles.where(in_zone(vehicles, self.zone.polygon)))
        standing = self._places.standing()
        self._mark_queues(moment, standing)
        due = [place for place in standing if self._is_due(moment, place)]
        if self._claim.is_open:
            # A claimed vehicle goes on being one when a queue forms behind it.
            due = [place for place in standing if place in due or place in self._claimed]
        self._claimed = due
        return self._claim.advance(moment, self._statement(moment, due) if due else None)

    def _is_due(self, moment: Moment, place: Place) -> bool:
        if place.queued_until_s is not None:
            alone_s = moment.observed_s - place.queued_until_s
            if alone_s <= min(self._dwell_s, _ALONE_S):
                return False
        limit_s = max(self._dwell_s, _FROM_START_S) if place.from_start else self._dwell_s
        return place.stood_s(moment) >= limit_s

    def _mark_queues(self, moment: Moment, standing: Sequence[Place]) -> None:
        # Who pauses for a moment makes no queue; what has stood for ten minutes is part of the scene.
        least_s, most_s = min(self._dwell_s / 2, _WAITS_S), max(3 * self._dwell_s, _FROM_START_S)
        waiting = [p for p in standing if p.seen and least_s <= p.stood_s(moment) < most_s]
        for row in _rows(waiting):
            if len(row) >= _QUEUE:
                for place in row:
                    place.queued_until_s = moment.observed_s

    def _statement(self, moment: Moment, due: Sequence[Place]) -> Statement:
        longest = due[0]
        since = longest.since or longest.last_hit
        boxes = tuple(as_box(place.box, place.class_id, place.confidence) for place in due)
        return Statement(
            enters=any(place.seen for place in due),
            stays=any(place.seen for place in due),
            began_at=since.captured_at,
            confidence=round(max(box.confidence for box in boxes), 3),
            boxes=boxes,
            facts={
                "vehicles": len(due),
                "vehicle": boxes[0].label,
                "dwell_s": round(longest.stood_s(moment), 1),
                "limit_s": self._dwell_s,
                "looks_in_favour": longest.still_looks,
                "looks_taken": longest.looks,
                "stood_at_first_look": int(longest.from_start),
            },
        )


def _rows(places: Sequence[Place]) -> list[list[Place]]:
    """Return the groups of places that are near each other, one by one along the row."""
    rows: list[list[Place]] = []
    for place in places:
        touching = [row for row in rows if any(near(place.box, other.box) for other in row)]
        rows = [row for row in rows if not any(row is other for other in touching)]
        rows.append([place, *(other for row in touching for other in row)])
    return rows
