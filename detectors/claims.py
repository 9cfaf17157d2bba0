# SPDX-License-Identifier: AGPL-3.0-or-later
"""The life of a claim: opened once, updated sparingly, ended by answered looks that saw nothing.

What speaks for a claim is each detector's business; this is only when to say it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from gridwatch.core.detections import Detections, ObjectClass
from gridwatch.core.finding import Box, Fact, Finding, Stage
from gridwatch.core.geometry import Float32, Polygon, bottom_centre, centre, inside
from gridwatch.core.zone import Kind, Zone

UPDATE_EVERY_S = 2.0
TOGETHER_S = 0.95  # looks of a followed camera that are nearer than this say one thing together, as one look does elsewhere
LONGEST_STEP_S = 8.0  # a look every 4 s at least, at the next key frame; beyond that nobody was looking


@dataclass(frozen=True, slots=True)
class Moment:
    """An answered look, as time.

    Attributes:
        observed_s: seconds under observation so far. It stands still across unanswered looks and long gaps,
            so that silence neither ends a claim nor adds to a dwell.
        followed: the camera is looked at more often than its key frames come.
        compared_mono_s: the look that changes inside the boxes were measured against; None where they were not.
    """

    at_mono_s: float
    captured_at: datetime
    observed_s: float
    followed: bool = False
    compared_mono_s: float | None = None


@dataclass(frozen=True, slots=True)
class Statement:
    """What speaks for a claim in one answered look.

    Attributes:
        enters: the evidence suffices to open a claim.
        stays: this look itself saw it (a look that merely lies inside the window does not count).
        began_at: when it began, as far as the evidence goes back; UTC.
    """

    enters: bool
    stays: bool
    began_at: datetime
    confidence: float | None = None
    boxes: tuple[Box, ...] = ()
    facts: Mapping[str, Fact] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Hold:
    """A claim ends after this much observed time *and* this many answered looks without it."""

    seconds: float
    looks: int


@dataclass(frozen=True, slots=True)
class Topic:
    """What a claim is about: one camera, one zone, one kind and subtype."""

    camera_id: str
    zone: Zone
    kind: Kind
    subtype: str


class Claim:
    """At most one open claim on a topic."""

    def __init__(self, topic: Topic, hold: Hold) -> None:
        self._topic, self._hold = topic, hold
        self._open: Finding | None = None
        self._said_mono_s = 0.0
        self._seen_observed_s = 0.0
        self._last_observed_s = 0.0
        self._looks_without = 0

    @property
    def is_open(self) -> bool:
        """Whether a claim is open now."""
        return self._open is not None

    def advance(self, moment: Moment, statement: Statement | None) -> list[Finding]:
        """Take one answered look's statement (None: nothing was seen); return what is to be said."""
        self._last_observed_s = moment.observed_s
        if self._open is None:
            return self._say(moment, Stage.OPENED, statement) if statement and statement.enters else []
        if statement is None or not statement.stays:
            return self._absent(moment, self._open)
        self._seen_observed_s, self._looks_without = moment.observed_s, 0
        due = moment.at_mono_s - self._said_mono_s >= UPDATE_EVERY_S
        changed = dict(statement.facts) != dict(self._open.facts) or statement.boxes != self._open.boxes
        return self._say(moment, Stage.UPDATED, statement) if due and changed else []

    def skip(self, moment: Moment) -> None:
        """Take an answered look that could not tell: neither it nor the time up to it counts against the claim."""
        self._seen_observed_s += moment.observed_s - self._last_observed_s
        self._last_observed_s = moment.observed_s

    def _absent(self, moment: Moment, last: Finding) -> list[Finding]:
        self._looks_without += 1
        unseen_s = moment.observed_s - self._seen_observed_s
        if unseen_s < self._hold.seconds or self._looks_without < self._hold.looks:
            return []
        self._open = None
        facts = {**last.facts, "unseen_s": round(unseen_s, 1), "looks_without": self._looks_without}
        return [self._finding(moment, Stage.ENDED, last.finding_id, last.began_at, last, facts)]

    def _say(self, moment: Moment, stage: Stage, statement: Statement) -> list[Finding]:
        if self._open is None:
            # The opening look's time makes the id unique in this process even if the detectors are rebuilt.
            name = f"{self._topic.camera_id}:{self._topic.kind}:{self._topic.zone.zone_id}"
            finding_id, began_at = f"{name}:{round(moment.at_mono_s * 1000)}", statement.began_at
        else:
            finding_id, began_at = self._open.finding_id, self._open.began_at
        self._open = self._finding(moment, stage, finding_id, began_at, statement, statement.facts)
        self._said_mono_s, self._looks_without = moment.at_mono_s, 0
        self._seen_observed_s = moment.observed_s
        return [self._open]

    def _finding(
        self,
        moment: Moment,
        stage: Stage,
        finding_id: str,
        began_at: datetime,
        content: Statement | Finding,
        facts: Mapping[str, Fact],
    ) -> Finding:
        return Finding(
            finding_id=finding_id,
            camera_id=self._topic.camera_id,
            kind=self._topic.kind,
            subtype=self._topic.subtype,
            zone_id=self._topic.zone.zone_id,
            zone_name=self._topic.zone.name,
            stage=stage,
            at=moment.captured_at,
            at_mono_s=moment.at_mono_s,
            began_at=began_at,
            confidence=content.confidence,
            boxes=content.boxes,
            facts=dict(facts),
        )


def in_zone(detections: Detections, polygon: Polygon) -> NDArray[np.bool_]:
    """Tell which boxes belong to a zone, (N,): their centre or the middle of their lower edge lies in it."""
    # A box that touches the picture's lower edge ends at exactly 1; the even-odd rule would leave it out.
    feet = np.minimum(bottom_centre(detections.xyxy), 1 - 1e-6)
    marked: NDArray[np.bool_] = inside(feet, polygon) | inside(centre(detections.xyxy), polygon)
    return marked


def as_boxes(detections: Detections, limit: int = 20) -> tuple[Box, ...]:
    """Return the most confident boxes (at most `limit`) as evidence."""
    order = np.argsort(-detections.confidence, kind="stable")[:limit]
    return tuple(
        as_box(detections.xyxy[index], int(detections.class_id[index]), float(detections.confidence[index]))
        for index in order
    )


def as_box(xyxy: Float32, class_id: int, confidence: float) -> Box:
    """Return one box (4,) as evidence, labelled with its class."""
    x0, y0, x1, y1 = (round(float(value), 4) for value in xyxy)
    return Box(x0, y0, x1, y1, ObjectClass(class_id).name.lower(), round(confidence, 3))
