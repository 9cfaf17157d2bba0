# SPDX-License-Identifier: AGPL-3.0-or-later
"""All detectors of one camera. Pure and deterministic: the same looks and answers give the same findings.

Not a pipeline: it neither decodes nor infers, keeps no pictures (but a few small luma views) and starts nothing.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Final, Generic, TypeAlias, TypeVar

from detectors.burning import BurningRule
from detectors.change import ChangeMeter
from detectors.claims import LONGEST_STEP_S, Moment
from detectors.crowd import CrowdRule
from detectors.errors import ForeignLook
from detectors.fire import fire_rule, flames_only
from detectors.smoke import smoke_rule
from detectors.traffic import TrafficRule
from detectors.watching import Watching
from gridwatch.core.camera import Camera
from gridwatch.core.detections import Detections, Part, Unknown
from gridwatch.core.finding import Finding, Stage
from gridwatch.core.look import Interest, Look, LookReason
from gridwatch.core.schedule import Schedule
from gridwatch.core.zone import Kind, Zone

Parts: TypeAlias = frozenset[Part]
R = TypeVar("R", BurningRule, CrowdRule, TrafficRule)

_ASKS: Final[Mapping[Kind, Parts]] = MappingProxyType(
    {
        Kind.FIRE: frozenset({Part.FIRE}),
        Kind.SMOKE: frozenset({Part.FIRE}),
        Kind.CROWD: frozenset({Part.PEOPLE, Part.CROWD}),
        Kind.TRAFFIC: frozenset({Part.PEOPLE}),
    }
)


class _Judged(Generic[R]):
    """A zone's rule for one kind, and the claim that it made.

    Attributes:
        kind: what it is about.
        rule: what judges; another one from each beginning of the zone's schedule on.
        watching: under which looks.
    """

    def __init__(self, kind: Kind, make: Callable[[], R], watching: Watching) -> None:
        self.kind, self.watching = kind, watching
        self._make: Callable[[], R] = make
        self.rule: R = make()
        self._claim: Finding | None = None

    def note(self, said: list[Finding]) -> list[Finding]:
        """Remember what is claimed after these findings; return them."""
        for finding in said:
            self._claim = None if finding.stage is Stage.ENDED else finding
        return said

    def begin_anew(self) -> None:
        """Forget what was forming when the schedule ended last: hours lie between. What is claimed waits to be judged."""
        if self._claim is None:
            self.rule = self._make()

    def unseen(self, look: Look) -> list[Finding]:
        """Return that what is claimed is not watched from this look on: nobody saw it end."""
        if self._claim is None:
            return []
        return [replace(self._claim, stage=Stage.UNSEEN, at=look.captured_at, at_mono_s=look.at_mono_s)]


_Any: TypeAlias = _Judged[BurningRule] | _Judged[CrowdRule] | _Judged[TrafficRule]


class Judge:
    """Turns one camera's looks into findings, zone by zone."""

    def __init__(self, camera: Camera) -> None:
        self._camera_id, self._zones = camera.camera_id, camera.zones
        self._meter = ChangeMeter()
        self._home = Watching(drawn=True, active=None)
        # Zones that are watched under the same looks share one.
        self._watching: dict[tuple[bool, Schedule | None], Watching] = {(True, None): self._home}
        self._all: list[_Any] = []
        self._fires = self._judged(Kind.FIRE, fire_rule)
        self._smokes = self._judged(Kind.SMOKE, smoke_rule)
        self._crowds = self._judged(Kind.CROWD, CrowdRule)
        self._traffic = self._judged(Kind.TRAFFIC, TrafficRule)
        self._last_mono_s: float | None = None
        self._scheduled = any(zone.active is not None for zone in camera.zones)
        self._parts = _asked(camera.zones)

    @property
    def parts(self) -> Parts:
        """What this camera's looks may have to ask the network for; all other parts may stay uncomputed."""
        return self._parts

    @property
    def questions(self) -> frozenset[Parts]:
        """All that its looks ask for in the course of a week."""
        minutes = {0, *(minute for zone in self._zones if zone.active for minute in zone.active.edges)}
        return frozenset(
            _asked(zone for zone in self._zones if zone.active is None or zone.active.includes_minute(minute))
            for minute in minutes
        )

    @property
    def wants_follow(self) -> Interest:
        """How much the camera is to be followed after the last look.

        While fire or smoke is claimed, or a look of the last 8 s spoke for it: flames and smoke come and go between key
        frames. Crowds and stopped vehicles take their tens of seconds at key-frame cadence and want nothing.
        """
        burning = (one.rule for one in (*self._fires, *self._smokes) if one.watching.sees)
        return max((rule.interest for rule in burning), default=Interest.NOTHING)

    @property
    def suspects(self) -> bool:
        """Whether something may be there that needs more looks: a reason to stay with a camera that takes turns."""
        forming = any(one.rule.is_forming for one in self._crowds if one.watching.sees)
        return forming or self.wants_follow is not Interest.NOTHING

    def parts_for(self, look: Look) -> Parts:
        """Return what one look has to ask the network for: nothing for zones that are not watched at its time."""
        if not self._scheduled:
            return self._parts
        at = look.captured_at
        return _asked(zone for zone in self._zones if zone.active is None or zone.active.includes(at))

    def observed_s(self, kind: Kind) -> tuple[float, ...]:
        """Return for how long answered looks have observed each zone of `kind`, seconds: of a long gap only 8 s count.

        Where no zone has it, the home picture counts. Other times than those under which a zone is watched do not.
        """
        zones = tuple(one.watching.observed_s for one in self._all if one.kind is kind)
        return zones or (self._home.observed_s,)

    def claims_within_s(self, kind: Kind) -> float:
        """Return the observed seconds that the rules for `kind` may need to claim what is there from the first look.

        After a start of the program, what an earlier run claimed and this one has not claimed by then is gone.
        Exceptions: vehicles in a queue, and what the network misses in most looks. 0.0 where no zone has `kind`.
        """
        return max((one.rule.claims_within_s for one in self._all if one.kind is kind), default=0.0)

    def update(self, look: Look, answer: Detections | Unknown) -> list[Finding]:
        """Take one look and the network's answer to it; return what is to be said, in the order of kinds.

        `Unknown` is no evidence in either direction: no claim opens, none ends, no dwell grows. So it is for zones that
        were drawn, where the look is not of the picture that they were drawn on, and for zones whose schedule does not
        include the look's time. A look that is not newer than the last is ignored.

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
        self._watch(look, stepped_s)
        unseen = self._turn(look) if self._scheduled else []
        return [*unseen, *self._judge(detections)]

    def _judge(self, detections: Detections) -> list[Finding]:
        flames = flames_only(detections)
        said: list[Finding] = []
        for fire in self._fires:
            if moment := fire.watching.moment:
                said += fire.note(fire.rule.update(moment, flames))
        for smoke in self._smokes:
            if moment := smoke.watching.moment:
                since_s = self._fire_since_s(moment)
                said += smoke.note(smoke.rule.update(moment, detections, fire_since_s=since_s))
        for crowd in self._crowds:
            if moment := crowd.watching.moment:
                said += crowd.note(crowd.rule.update(moment, detections))
        for traffic in self._traffic:
            if moment := traffic.watching.moment:
                said += traffic.note(traffic.rule.update(moment, detections))
        return said

    def _fire_since_s(self, moment: Moment) -> float | None:
        """Return since when there is a fire that is claimed and watched, in the observed seconds of `moment`'s zone."""
        since = (
            fire.rule.claimed_since_s + (moment.observed_s - fire.watching.observed_s)
            for fire in self._fires
            if fire.watching.sees and fire.rule.claimed_since_s is not None
        )
        return min(since, default=None)

    def _judged(self, kind: Kind, make: Callable[[str, Zone], R]) -> list[_Judged[R]]:
        """Return the rules for a kind, one for each of its zones."""
        made: list[_Judged[R]] = []
        for zone in self._zones:
            if kind in zone.kinds:
                own = Watching.of(zone)
                watching = self._watching.setdefault((own.drawn, own.active), own)
                made.append(_Judged(kind, partial(make, self._camera_id, zone), watching))
        self._all += made
        return made

    def _turn(self, look: Look) -> list[Finding]:
        """Do what beginnings and ends of schedules ask for; return the claims that are watched no more."""
        said: list[Finding] = []
        for one in self._all:
            if one.watching.began:
                one.begin_anew()
            elif one.watching.ended:
                said += one.unseen(look)
        return said

    def _step(self, look: Look, *, answered: bool) -> float:
        """Note the look's time; return the observed seconds since the one before."""
        # The time up to an unanswered look counts for nothing, and so does all but 8 s of a long gap.
        last_s, self._last_mono_s = self._last_mono_s, look.at_mono_s
        return min(look.at_mono_s - last_s, LONGEST_STEP_S) if answered and last_s is not None else 0.0

    def _watch(self, look: Look, stepped_s: float) -> None:
        """Note under which zones an answered look is evidence, each with its own observed time."""
        moment = Moment(
            look.at_mono_s,
            look.captured_at,
            0.0,
            followed=look.why is LookReason.FOLLOW,
            compared_mono_s=self._meter.compared_mono_s,
        )
        for watching in self._watching.values():
            watching.step(look, moment, stepped_s)


def _asked(zones: Iterable[Zone]) -> Parts:
    return frozenset(part for zone in zones for kind in zone.kinds for part in _ASKS[kind])
