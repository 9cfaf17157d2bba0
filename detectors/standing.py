# SPDX-License-Identifier: AGPL-3.0-or-later
"""Places where a vehicle stands, from boxes at key-frame cadence. No tracks: a place is followed, not a vehicle.

A vehicle stands where a box recurs and its inside stays the same. Another vehicle at the same place changes the
inside; so does one that drives past in front, which is why a few such looks interrupt a stand without ending it.
"""

from collections import deque
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from detectors.claims import Moment
from gridwatch.core.detections import VEHICLES, Detections
from gridwatch.core.geometry import Float32, box_area, iou

_MOST_PLACES = 48
_AT_LEAST = 0.25
# Change inside: standing vehicles 1 to 13 between key frames, others in their place 20 to 70.
_STILL_MAX = 14.0
_SAME_BOX = 0.5  # IoU from which a box lies at a place
# IoU with the outline when the stand began: what creeps along falls below it, and so does another vehicle that
# takes the place while something drives past in front.
_STAYS = 0.75
# IoU from which what shows again is what stood there from the start: something drove past in front of a parked car.
_UNCOVERED = 0.85
_PARKED_S = 600.0  # so long the place of what stood there from the start is remembered unseen
_GAP_LOOKS = 3
_LOOK_WORTH_S = 2.5  # a look of a followed camera counts as much of one as it covers of this
_HITS_S = 2.5
_GAP_S = 15.0
_SINGLE = 0.6  # IoU above which two boxes of one look are one vehicle called by two names


@dataclass(slots=True, eq=False)
class Place:
    """One place where vehicles were seen.

    Attributes:
        box: (4,), where the last box lay; while something stands, its outline.
        from_start: a vehicle stood there at the first look already, so nobody saw it come.
        since: the first look of the present stand; None while nothing stands there.
        anchor: (4,), the outline when the stand began: what creeps away from it does not stand.
        hits: the looks of the last seconds in which a vehicle lay there, without a gap.
        still_looks: looks in which it was seen to stand; `looks`: all looks since then, but those
            that showed a box whose change could not be measured.
    """

    box: Float32
    last_hit: Moment
    from_start: bool
    confidence: float
    class_id: int
    since: Moment | None = None
    anchor: Float32 | None = None
    still_looks: int = 0
    looks: int = 0
    gap_looks: float = 0
    queued_until_s: float | None = None
    hits: deque[Moment] = field(default_factory=lambda: deque(maxlen=8))

    @property
    def seen(self) -> bool:
        """Whether the last look itself saw it stand."""
        return self.since is not None and self.gap_looks == 0

    def stood_s(self, moment: Moment) -> float:
        """Return for how long (observed) something has stood there."""
        return 0.0 if self.since is None else moment.observed_s - self.since.observed_s

    def take(self, moment: Moment, box: Float32, *, change: float, worth: float = 1.0) -> None:
        """Take a look's box: how much its inside changed (NaN: not measured), and how much of a usual look it is."""
        if np.isnan(change):
            self._hit(moment)  # it is there, but whether it stood cannot be told: no look for or against
            return
        self.looks += self.since is not None
        if change > _STILL_MAX or self._crept(box):
            self._moves(box, worth)
        elif self.since is None:
            self.since, self.still_looks, self.looks = self._stood_since(moment), 1, 1
            self.gap_looks, self.box, self.anchor = 0, box, box
        else:
            self.still_looks, self.gap_looks, self.box = self.still_looks + 1, 0, box
        self._hit(moment)

    def _hit(self, moment: Moment) -> None:
        self.last_hit = moment
        self.hits.append(moment)
        while moment.observed_s - self.hits[0].observed_s > _HITS_S:
            self.hits.popleft()

    def _stood_since(self, moment: Moment) -> Moment:
        # It has stood since the look with which the inside was compared: the one before, or of a followed camera an older one.
        if self.gap_looks:
            return moment
        compared_mono_s = moment.compared_mono_s or 0.0
        return next((hit for hit in self.hits if hit.at_mono_s >= compared_mono_s), self.last_hit)

    def _crept(self, box: Float32) -> bool:
        return self.anchor is not None and float(iou(box, self.anchor)[0, 0]) < _STAYS

    def _moves(self, box: Float32, worth: float) -> None:
        # Something drives here, perhaps only in front of what stands here: the stand is interrupted.
        if self.since is not None:
            self.gap_looks += worth
            return
        if float(iou(box, self.box)[0, 0]) < _UNCOVERED:
            self.from_start = False
            self.hits.clear()
        self.box, self.gap_looks = box, 0

    def miss(self, worth: float = 1.0) -> None:
        """Take a look that showed no vehicle there."""
        self.looks += self.since is not None
        self.gap_looks += worth
        self.hits.clear()

    def leave(self) -> None:
        """Nothing is seen to stand there any more (what is overlooked for a while was still not seen to come)."""
        self.since, self.anchor, self.queued_until_s = None, None, None
        self.still_looks, self.looks = 0, 0


class StandingPlaces:
    """All places of one zone; bounded, and forgotten when nothing has been there for a while."""

    def __init__(self) -> None:
        self._places: list[Place] = []
        self._first = True
        self._last_s = 0.0
        self._worth = 1.0

    def __len__(self) -> int:
        return len(self._places)

    def update(self, moment: Moment, vehicles: Detections) -> None:
        """Take the vehicles (see `vehicles_of`) of one answered look, with `change` measured."""
        step_s = moment.observed_s - self._last_s
        self._worth = min(1.0, step_s / _LOOK_WORTH_S) if moment.followed else 1.0
        self._last_s = moment.observed_s
        # What stands has the first claim on a box; what drives past takes what is left.
        self._places.sort(key=lambda place: (place.since is None, -place.still_looks))
        agreement = self._agreement(vehicles)
        taken = np.zeros(len(vehicles), np.bool_)
        for number, place in enumerate(self._places):
            self._follow(moment, place, vehicles, np.where(taken, 0.0, agreement[:, number]), taken)
        for index in np.flatnonzero(~taken):
            self._places.append(self._new(moment, vehicles, int(index)))
        self._first = False
        self._forget(moment)

    def standing(self) -> list[Place]:
        """Return the places where something stands now, longest first."""
        return sorted(
            (
                place
                for place in self._places
                if place.since is not None and 2 * place.still_looks >= place.looks
            ),
            key=lambda place: place.since.at_mono_s if place.since else 0.0,
        )

    def _follow(
        self,
        moment: Moment,
        place: Place,
        vehicles: Detections,
        agreement: NDArray[np.floating],
        taken: NDArray[np.bool_],
    ) -> None:
        best = int(np.argmax(agreement)) if len(agreement) else -1
        if best < 0 or agreement[best] < _SAME_BOX:
            place.miss(self._worth)
        else:
            taken[best] = True
            change = float(vehicles.change[best])
            place.take(moment, vehicles.xyxy[best], change=change, worth=self._worth)
            place.confidence = float(vehicles.confidence[best])
            place.class_id = int(vehicles.class_id[best])
        gone_s = moment.observed_s - place.last_hit.observed_s
        if place.since is not None and (place.gap_looks > _GAP_LOOKS or gone_s > _GAP_S):
            place.leave()

    def _agreement(self, vehicles: Detections) -> NDArray[np.floating]:
        if not self._places:
            return np.zeros((len(vehicles), 0), np.float32)
        return iou(vehicles.xyxy, np.stack([place.box for place in self._places]))

    def _new(self, moment: Moment, vehicles: Detections, index: int) -> Place:
        # A first box whose inside did not change was there before the network noticed it: nobody saw it come.
        change = float(vehicles.change[index])
        unseen_arrival = self._first or not change > _STILL_MAX
        place = Place(
            vehicles.xyxy[index],
            moment,
            unseen_arrival,
            float(vehicles.confidence[index]),
            int(vehicles.class_id[index]),
        )
        place.hits.append(moment)
        return place

    def _forget(self, moment: Moment) -> None:
        kept = [
            place
            for place in self._places
            if place.since is not None
            or moment.observed_s - place.last_hit.observed_s <= (_PARKED_S if place.from_start else _GAP_S)
        ]
        if len(kept) > _MOST_PLACES:
            kept = sorted(kept, key=lambda place: (-place.stood_s(moment), -place.confidence))[:_MOST_PLACES]
        self._places = kept


def vehicles_of(detections: Detections) -> Detections:
    """Return the vehicles (≥ 0.25), each once: the network often calls one box both car and truck."""
    vehicles = detections.of(*VEHICLES, at_least=_AT_LEAST)
    overlap = np.triu(iou(vehicles.xyxy, vehicles.xyxy) > _SINGLE, 1)
    keep = np.ones(len(vehicles), np.bool_)
    for index in range(len(vehicles)):  # by falling confidence
        if keep[index]:
            keep &= ~overlap[index]
    return vehicles.where(keep)


def near(a: Float32, b: Float32, *, reach: float = 1.5) -> bool:
    """Tell whether the gap between two boxes is at most `reach` times the smaller one's size."""
    gap = np.maximum(np.maximum(a[:2] - b[2:], b[:2] - a[2:]), 0.0)
    size = float(np.sqrt(min(float(box_area(a)[0]), float(box_area(b)[0]))))
    return bool(np.hypot(*gap) <= reach * size)
