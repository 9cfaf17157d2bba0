# SPDX-License-Identifier: AGPL-3.0-or-later
"""The rule that fire and smoke share: boxes recur in a place and their inside changes between looks.

A lamp, a sign or a sunset recurs perfectly and does not move. Not a fire detection system: it says "suspected".
"""

from collections import deque
from dataclasses import dataclass

import numpy as np

from detectors.claims import (
    LONGEST_STEP_S,
    TOGETHER_S,
    Claim,
    Hold,
    Moment,
    Statement,
    Topic,
    as_boxes,
    in_zone,
)
from detectors.recurrence import Recurrence, Site, Thresholds
from gridwatch.core.detections import Detections, ObjectClass
from gridwatch.core.finding import Fact, Finding, Stage
from gridwatch.core.geometry import iou
from gridwatch.core.look import Interest
from gridwatch.core.zone import Zone

SMOKE_EARLIER_S = 10.0
"""Smoke may be seen so long before the fire that it belongs to; what hung there earlier looks like it, and is not."""


@dataclass(frozen=True, slots=True)
class BurningSettings:
    """How one of the two kinds is judged.

    Attributes:
        looks_beside_fire: looks in favour, anywhere in the zone, that suffice while a fire is claimed on the
            same camera; None: a fire elsewhere says nothing about this kind.
    """

    wanted: ObjectClass
    thresholds: Thresholds
    hold: Hold
    looks_beside_fire: int | None = None


@dataclass(slots=True)
class _Second:
    """Looks of less than a second: when they began (observed), the first that saw something, and since when it is there."""

    began_s: float
    seen: Moment | None = None
    place_s: float = float("-inf")


class BurningRule:
    """Fire or smoke in one zone of one camera."""

    def __init__(self, topic: Topic, settings: BurningSettings) -> None:
        self._topic, self._settings = topic, settings
        self._claim = Claim(topic, settings.hold)
        self._recurrence = Recurrence(settings.thresholds)
        self._anywhere: deque[_Second] = deque(maxlen=settings.thresholds.window_looks)
        self._last: Moment | None = None
        self._claimed_since_s: float | None = None
        self._seen_at = np.zeros((0, 4), np.float32)  # the boxes of the last look that spoke in favour

    @property
    def zone(self) -> Zone:
        """Where it looks."""
        return self._topic.zone

    @property
    def interest(self) -> Interest:
        """How much the camera is to be followed after the last look: flames and smoke come and go between key frames."""
        if self.is_claimed:
            return Interest.CLAIMED
        forms = self._last is not None and self._recurrence.forms(self._last)
        return Interest.FORMING if forms else Interest.NOTHING

    @property
    def is_claimed(self) -> bool:
        """Whether a claim is open now."""
        return self._claim.is_open

    @property
    def claimed_since_s(self) -> float | None:
        """Since when there is what is claimed, observed seconds; None while nothing is."""
        return self._claimed_since_s if self.is_claimed else None

    @property
    def claims_within_s(self) -> float:
        """Observed seconds within which what burns from the first look on is claimed."""
        # The first look has none before it to be compared with, and at a slow cadence neither has the second.
        return self._settings.thresholds.window_s + 2 * LONGEST_STEP_S

    def update(
        self, moment: Moment, detections: Detections, *, fire_since_s: float | None = None
    ) -> list[Finding]:
        """Take one answered look, with `change` measured; return what is to be said.

        Args:
            moment: the look's time.
            detections: its boxes.
            fire_since_s: since when there is a fire that is claimed on the same camera, observed seconds; None: there is none.
        """
        self._last = moment
        thresholds = self._settings.thresholds
        boxes = detections.of(self._settings.wanted, at_least=thresholds.low)
        boxes = boxes.where(in_zone(boxes, self._topic.zone.polygon))
        if len(boxes) and np.isnan(boxes.change).all():
            return self._unmeasured(moment, boxes)
        self._recurrence.update(moment, boxes)
        living = boxes.where(boxes.change >= thresholds.change_floor)  # NaN is below every floor
        self._note(moment, self._recurrence.newest_place_s(living) if len(living) else None)
        if len(living):
            self._seen_at = living.xyxy
        return self._advance(moment, self._statement(moment, living, fire_since_s))

    def _note(self, moment: Moment, place_s: float | None) -> None:
        """Note a look: since when there are boxes at the newest place that lives in it; None where nothing does."""
        if not self._anywhere or moment.observed_s - self._anywhere[-1].began_s >= TOGETHER_S:
            self._anywhere.append(_Second(moment.observed_s))
        second = self._anywhere[-1]
        if place_s is not None and (second.seen is None or place_s > second.place_s):
            second.seen, second.place_s = second.seen or moment, place_s

    def _unmeasured(self, moment: Moment, boxes: Detections) -> list[Finding]:
        """Take a look whose boxes could not be compared: no evidence of any place where one of them lies."""
        if iou(boxes.xyxy, self._seen_at).any():
            self._claim.skip(moment)
            return []
        return self._advance(moment, None)

    def _advance(self, moment: Moment, statement: Statement | None) -> list[Finding]:
        said = self._claim.advance(moment, statement)
        if any(finding.stage is Stage.OPENED for finding in said):
            site = self._recurrence.entered()
            self._claimed_since_s = site.in_favour[0].moment.observed_s if site else moment.observed_s
        if any(finding.stage is Stage.ENDED for finding in said):
            # Looks that could not be measured leave the evidence as it was: what ended must not open again by it.
            self._recurrence.clear()
            self._anywhere.clear()
        return said

    def _statement(self, moment: Moment, living: Detections, fire_since_s: float | None) -> Statement | None:
        entered = self._recurrence.entered()
        site = entered or self._recurrence.strongest()
        if site is None:
            return None
        oldest_s = moment.observed_s - self._settings.thresholds.window_s
        came_s = float("inf") if fire_since_s is None else fire_since_s - SMOKE_EARLIER_S
        seen = [
            each.seen
            for each in self._anywhere
            if each.seen and each.seen.observed_s >= oldest_s and each.place_s >= came_s
        ]
        enough = self._settings.looks_beside_fire
        beside = enough is not None and len(seen) >= enough
        began_at = site.began_at or moment.captured_at
        if beside and not entered:
            began_at = seen[0].captured_at
        favour = site.in_favour
        confidence = sum(mark.confidence for mark in favour) / len(favour) if favour else None
        return Statement(
            enters=entered is not None or beside,
            stays=bool(len(living)),
            began_at=began_at,
            confidence=None if confidence is None else round(confidence, 3),
            boxes=as_boxes(living),
            facts=_facts(site, beside=beside and entered is None),
        )


def _facts(site: Site, *, beside: bool) -> dict[str, Fact]:
    favour = site.in_favour
    latest = favour[-1] if favour else site.marks[-1]
    facts: dict[str, Fact] = {
        "looks_in_favour": sum(mark.looks_in_favour for mark in favour),
        "looks_taken": sum(mark.looks for mark in site.marks),
        "area_share": round(latest.area, 4),
        "growth": round(latest.area / site.began_area, 2) if site.began_area > 0 else None,
        "highest_confidence": round(max((mark.confidence for mark in favour), default=0.0), 3),
        "change_inside": round(latest.change, 1),
    }
    return facts | {"beside_fire": 1} if beside else facts
