# SPDX-License-Identifier: AGPL-3.0-or-later
"""All detectors of one camera. Pure and deterministic: the same looks and answers give the same findings.

Not a pipeline: it neither decodes nor infers, keeps no pictures (but one small luma view) and starts nothing.
"""

from collections.abc import Mapping, Sequence

from detectors.burning import BurningRule
from detectors.change import ChangeMeter
from detectors.claims import LONGEST_STEP_S, Moment
from detectors.crowd import CrowdRule
from detectors.errors import ForeignLook
from detectors.fire import fire_rule, flames_only
from detectors.smoke import smoke_rule
from detectors.traffic import TrafficRule
from gridwatch.core.camera import Camera
from gridwatch.core.detections import Detections, Part, Unknown
from gridwatch.core.finding import Finding
from gridwatch.core.look import Look
from gridwatch.core.zone import Kind


class Judge:
    """Turns one camera's looks into findings, zone by zone."""

    def __init__(self, camera: Camera) -> None:
        self._camera_id = camera.camera_id
        self._meter = ChangeMeter()
        self._fires = [fire_rule(camera.camera_id, zone) for zone in camera.zones_for(Kind.FIRE)]
        self._smokes = [smoke_rule(camera.camera_id, zone) for zone in camera.zones_for(Kind.SMOKE)]
        self._crowds = [CrowdRule(camera.camera_id, zone) for zone in camera.zones_for(Kind.CROWD)]
        self._traffic = [TrafficRule(camera.camera_id, zone) for zone in camera.zones_for(Kind.TRAFFIC)]
        self._last_mono_s: float | None = None
        self._observed_s = 0.0

    @property
    def parts(self) -> frozenset[Part]:
        """What this camera's looks have to ask the network for; all other parts may stay uncomputed."""
        wanted: set[Part] = set()
        if self._fires or self._smokes:
            wanted.add(Part.FIRE)
        if self._crowds:
            wanted |= {Part.PEOPLE, Part.CROWD}
        if self._traffic:
            wanted.add(Part.PEOPLE)
        return frozenset(wanted)

    def claims_within_s(self, kind: Kind) -> float:
        """Return the observed seconds that the rules for `kind` may need to claim what is there from the first look.

        After a start of the program, what an earlier run claimed and this one has not claimed by then is gone.
        Exceptions: vehicles in a queue, and what the network misses in most looks. 0.0 where no zone has `kind`.
        """
        rules: Mapping[Kind, Sequence[BurningRule | CrowdRule | TrafficRule]] = {
            Kind.FIRE: self._fires,
            Kind.SMOKE: self._smokes,
            Kind.CROWD: self._crowds,
            Kind.TRAFFIC: self._traffic,
        }
        return max((rule.claims_within_s for rule in rules[kind]), default=0.0)

    def update(self, look: Look, answer: Detections | Unknown) -> list[Finding]:
        """Take one look and the network's answer to it; return what is to be said, in the order of kinds.

        `Unknown` is no evidence in either direction: no claim opens, none ends, no dwell grows. A look that is
        not newer than the last is ignored.

        Raises:
            ForeignLook: the look is another camera's.
        """
        if look.camera_id != self._camera_id:
            raise ForeignLook(self._camera_id, look.camera_id)
        if self._last_mono_s is not None and look.at_mono_s <= self._last_mono_s:
            return []
        moment = self._observe(look, answered=isinstance(answer, Detections))
        if isinstance(answer, Unknown):
            return []
        detections = self._meter.measure(look, answer)
        return self._judge(moment, detections)

    def _judge(self, moment: Moment, detections: Detections) -> list[Finding]:
        flames = flames_only(detections)
        said = [finding for rule in self._fires for finding in rule.update(moment, flames)]
        beside_fire = any(rule.is_claimed for rule in self._fires)
        for smoke in self._smokes:
            said += smoke.update(moment, detections, beside_fire=beside_fire)
        for crowd in self._crowds:
            said += crowd.update(moment, detections)
        for traffic in self._traffic:
            said += traffic.update(moment, detections)
        return said

    def _observe(self, look: Look, *, answered: bool) -> Moment:
        # The time up to an unanswered look counts for nothing, and so does all but 8 s of a long gap.
        if answered and self._last_mono_s is not None:
            self._observed_s += min(look.at_mono_s - self._last_mono_s, LONGEST_STEP_S)
        self._last_mono_s = look.at_mono_s
        return Moment(look.at_mono_s, look.captured_at, self._observed_s)
