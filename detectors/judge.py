# SPDX-License-Identifier: AGPL-3.0-or-later
"""All detectors of one camera. Pure and deterministic: the same looks and answers give the same findings.

Not a pipeline: it neither decodes nor infers, keeps no pictures (but a few small luma views) and starts nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

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
from gridwatch.core.geometry import WHOLE_PICTURE
from gridwatch.core.look import Interest, Look, LookReason
from gridwatch.core.zone import Kind, Zone


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
        self._at_home = True
        self._observed_s = self._observed_home_s = 0.0

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

    @property
    def wants_follow(self) -> Interest:
        """How much the camera is to be followed after the last look.

        While fire or smoke is claimed, or a look of the last 8 s spoke for it: flames and smoke come and go between key
        frames. Crowds and stopped vehicles take their tens of seconds at key-frame cadence and want nothing.
        """
        rules = (rule for rule in (*self._fires, *self._smokes) if self._sees(rule.zone))
        return max((rule.interest for rule in rules), default=Interest.NOTHING)

    @property
    def suspects(self) -> bool:
        """Whether something may be there that needs more looks: a reason to stay with a camera that takes turns."""
        forming = any(rule.is_forming for rule in self._crowds if self._sees(rule.zone))
        return forming or self.wants_follow is not Interest.NOTHING

    @property
    def observed_s(self) -> float:
        """For how long answered looks at the home picture have observed it, seconds: of a long gap only 8 s count."""
        return self._observed_home_s

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

        `Unknown` is no evidence in either direction: no claim opens, none ends, no dwell grows. So it is for zones that
        were drawn, where the look is not of the picture that they were drawn on. A look that is not newer than the last
        is ignored.

        Raises:
            ForeignLook: the look is another camera's.
        """
        if look.camera_id != self._camera_id:
            raise ForeignLook(self._camera_id, look.camera_id)
        if self._last_mono_s is not None and look.at_mono_s <= self._last_mono_s:
            return []
        stepped_s = self._step(look, answered=isinstance(answer, Detections))
        if isinstance(answer, Unknown):
            return []
        detections = self._meter.measure(look, answer)
        return self._judge(self._times(look, stepped_s), detections)

    def _judge(self, times: "_Times", detections: Detections) -> list[Finding]:
        flames = flames_only(detections)
        said: list[Finding] = []
        for fire in self._fires:
            if moment := times.of(fire.zone):
                said += fire.update(moment, flames)
        since = [rule.claimed_since_s for rule in self._fires if rule.claimed_since_s is not None]
        for smoke in self._smokes:
            if moment := times.of(smoke.zone):
                said += smoke.update(moment, detections, fire_since_s=min(since, default=None))
        for crowd in self._crowds:
            if moment := times.of(crowd.zone):
                said += crowd.update(moment, detections)
        for traffic in self._traffic:
            if moment := times.of(traffic.zone):
                said += traffic.update(moment, detections)
        return said

    def _sees(self, zone: Zone) -> bool:
        return self._at_home or zone.polygon == WHOLE_PICTURE

    def _step(self, look: Look, *, answered: bool) -> float:
        """Note the look's time; return the observed seconds since the one before."""
        # The time up to an unanswered look counts for nothing, and so does all but 8 s of a long gap.
        last_s, self._last_mono_s = self._last_mono_s, look.at_mono_s
        return min(look.at_mono_s - last_s, LONGEST_STEP_S) if answered and last_s is not None else 0.0

    def _times(self, look: Look, stepped_s: float) -> "_Times":
        self._observed_s += stepped_s
        if look.at_home and self._at_home:
            self._observed_home_s += stepped_s
        self._at_home = look.at_home
        whole = Moment(
            look.at_mono_s,
            look.captured_at,
            self._observed_s,
            followed=look.why is LookReason.FOLLOW,
            compared_mono_s=self._meter.compared_mono_s,
        )
        return _Times(whole, replace(whole, observed_s=self._observed_home_s) if look.at_home else None)


@dataclass(frozen=True, slots=True)
class _Times:
    """A look's time for zones over the whole picture, and for those that were drawn on the home picture.

    A camera that is away from it shows something else there: no evidence either way, and its time stands still.
    """

    whole: Moment
    drawn: Moment | None

    def of(self, zone: Zone) -> Moment | None:
        return self.whole if zone.polygon == WHOLE_PICTURE else self.drawn
