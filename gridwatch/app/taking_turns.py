# SPDX-License-Identifier: AGPL-3.0-or-later
"""Cameras that take turns (轮巡): what a visit does with the parts that the shard holds of a camera.

`ingest.division` says who has to take turns at all, `ingest.attention` who is next; here a visit connects, hands the
pictures to the camera's own steps and leaves, and a camera on which something may be is read all the time for a while.
"""

import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, tzinfo
from functools import partial

import structlog

from gridwatch.app.camera_wiring import CameraWiring
from gridwatch.app.settings import AttentionSettings
from gridwatch.app.watched import Watched
from gridwatch.core.camera import Camera, Note, SightState
from ingest import turns
from ingest.admission import Way
from ingest.attention import Attention
from ingest.budget import Budget, Policy
from ingest.division import divide
from ingest.errors import NotFoundError, SourceError, StreamEndedError, UnauthorizedError
from ingest.grab import Grabbed, Grabber
from ingest.packets import Packet
from ingest.streams import StreamChoice
from ingest.visits import Brought, Visits

log = structlog.get_logger()

SLOTS_WITHOUT_BOUND = 64  # visits at once, where only decoding, looks or bandwidth are bounded
JOIN_S = 1.0  # a stream that flows ends at its next packet; one that stalls must not hold up all visits
CALM_S = 30.0  # watched without a break and without a claim for so long, a camera takes turns again
KEEP_S = 30.0  # after a visit its packets are kept for so long: a clip may be cut from them

Deliver = Callable[[Watched, Packet], None]


class TakingTurns:
    """Watches the cameras of a shard within a budget; the `Visitor` of `ingest.visits`. Safe for several threads.

    Args:
        deliver: takes what is to be decoded.
        wiring: makes what reads a camera's stream.
        zone: whose hours the day has.
        policy: how cameras are visited, where it is not the usual one.
        always: ids of cameras that are watched without a break whatever the budget: the test camera.

    Attributes:
        visits: the threads that visit.
        held: ids of the cameras for which the budget suffices without taking turns.
    """

    def __init__(
        self,
        settings: AttentionSettings,
        deliver: Deliver,
        wiring: CameraWiring,
        zone: tzinfo,
        *,
        policy: Policy | None = None,
        always: frozenset[str] = frozenset(),
    ) -> None:
        clock, admission = wiring.clock, wiring.admission
        self._deliver, self._wiring, self._clock, self._policy = deliver, wiring, clock, policy
        self._connections = settings.connections
        self._budget = Budget(
            slots=settings.connections or SLOTS_WITHOUT_BOUND,
            visits_per_s=admission.limits.per_s,
            key_frames_per_s=settings.key_frames_per_s,
            looks_per_s=settings.looks_per_s,
            mbit_per_s=settings.mbit_per_s,
            sessions=admission.limits.sessions,
        )
        hour = _hour(clock.now(), zone)
        attention = Attention([], self._budget, policy, now_s=clock.mono_s(), hour=hour)
        self.visits = Visits(attention, self._budget, self, clock, lambda: _hour(clock.now(), zone))
        self.held: frozenset[str] = frozenset()
        self._always, self._confirmed = always, dict[str, int]()
        self._started = False
        # Replaced as wholes, never changed: all cameras that connect, and those of them that take turns.
        self._all: Mapping[str, Watched] = {}
        self._turning: Mapping[str, turns.Watched] = {}
        self._choices: Mapping[str, StreamChoice] = {}
        self._lock = threading.Lock()  # guards what follows; never held while `visits` is asked for something
        self._calm_since: dict[str, float] = {}  # of cameras that are watched without a break for a while
        self._left_mono_s: dict[str, float] = {}  # when a camera was visited, while its packets are kept
        self._suspected: set[str] = (
            set()
        )  # cameras of interest that take turns, until their looks show nothing more

    def start(self) -> None:
        """Begin to watch."""
        self._started = True
        self.visits.start()
        self._start_held()

    def take(self, watched: Iterable[Watched]) -> None:
        """Watch exactly these cameras from now on; nothing happens to those that are the same as before."""
        before, known = self._all, self._turning
        everyone = {one.camera.camera_id: one for one in watched if one.connects}
        counted = [self._entered(one.camera) for name, one in everyone.items() if name not in self._always]
        division = divide(counted, self._whole(len(counted)), self._policy)
        turning = {item.camera_id: item for item in division.turns}
        stays = {name for name in known if name in turning and everyone[name] is before[name]}
        self._choices = {name: self._choice(name, everyone[name], stays) for name in turning}
        self._all, self._turning = everyone, turning
        self.held = frozenset(item.camera_id for item in division.held) | (self._always & everyone.keys())
        for name in known.keys() - stays:
            self._leave(name)
        slots = min(self._budget.slots, division.budget.slots)
        self.visits.spend(replace(division.budget, slots=slots))
        for name, item in turning.items():
            if name not in stays:
                everyone[name].halt()
                everyone[name].pipeline.intake.sight.takes_turns()
                self.visits.add(item)
                if _is_of_interest(everyone[name]):  # watched for good until now
                    self.suspect(everyone[name])
            elif item != known[name]:
                self.visits.change(item)
        if self._started:
            self._start_held()
        if turning:
            log.info("taking_turns", cameras=len(turning), without_a_break=len(self.held))

    @property
    def turning(self) -> Collection[str]:
        """The ids of the cameras that take turns, also those that are watched without a break for a while."""
        return self._turning.keys()

    @property
    def stuck(self) -> bool:
        """Whether every connection is held by a visit that does not come back: only a new process can visit again."""
        return bool(self._turning) and self.visits.stuck >= self._budget.slots

    def weigh(self, confirmed: Mapping[str, int]) -> None:
        """Take over how many incidents operators confirmed at cameras of late: those are visited more often."""
        self._confirmed = dict(confirmed)
        self.take(self._all.values())

    def visit(self, visit: turns.Visit) -> Brought:
        """Connect, hand on a few pictures, and leave."""
        one = self._all.get(visit.camera_id)
        if one is None:
            return Brought(turns.Outcome.FAILED)
        with self._lock:
            self._left_mono_s.pop(visit.camera_id, None)
        sight = one.pipeline.intake.sight
        try:
            grabbed = self._grab(one, visit.within_s)
        except SourceError as error:
            if one.ended or one.reads or self.visits.stopping.is_set():
                return Brought(turns.Outcome.FAILED)  # it was called off, which says nothing of the camera
            sight.failed(error.reason, error.fault)
            refused = isinstance(error, UnauthorizedError)
            return Brought(turns.Outcome.REFUSED if refused else turns.Outcome.FAILED)
        finally:
            with self._lock:
                self._left_mono_s[visit.camera_id] = self._clock.mono_s()
        sight.unreported(grabbed.took_s - grabbed.opened_s)  # a report begins it anew
        return Brought(self._outcome(one, grabbed), grabbed.took_s - grabbed.opened_s)

    def promote(self, camera_id: str) -> None:
        """Watch a camera without a break from now on."""
        self._read(camera_id)

    def demote(self, cameras: Sequence[str]) -> None:
        """Watch them in turn again; returns when they are disconnected, or stall."""
        halted = []
        with self._lock:
            for camera_id in cameras:
                self._calm_since.pop(camera_id, None)
                one = self._all.get(camera_id)
                if one is not None and camera_id not in self.held:
                    one.halt()
                    halted.append(one)
        until_mono_s = self._clock.mono_s() + JOIN_S
        for one in halted:
            one.feed.join(max(0.0, until_mono_s - self._clock.mono_s()))

    def promised(self, camera_id: str, by_mono_s: float) -> None:
        """Let the camera's sight stand until its next visit is due; note who is watched without a break."""
        one, without_a_break = self._all.get(camera_id), by_mono_s == float("inf")
        if one is None or camera_id in self.held:
            return
        with self._lock:
            if without_a_break:
                self._calm_since[camera_id] = self._clock.mono_s()
            else:
                self._calm_since.pop(camera_id, None)
        one.pipeline.intake.sight.between_visits(None if without_a_break else by_mono_s)

    def suspect(self, one: Watched) -> None:
        """Say that the detectors want to see more of a camera: it is watched without a break, if there is room."""
        camera_id = one.camera.camera_id
        if self._all.get(camera_id) is one and camera_id in self._turning:
            with self._lock:
                self._suspected.add(camera_id)
            with suppress(KeyError):  # removed just now
                self.visits.promote(camera_id, urgent=bool(one.claims))

    def check(self, one: Watched, now_mono_s: float) -> None:
        """Let a camera that is watched without a break take turns again, once it was quiet for a while or is lost."""
        camera_id = one.camera.camera_id
        if self._all.get(camera_id) is not one or camera_id in self.held:
            return
        since = self._read(camera_id)
        if since is None:
            self._end_suspicion(one)
            self._forget_packets(one, now_mono_s)
            return
        lost = one.pipeline.intake.sight.status().state is SightState.BLIND
        goes_on = _is_of_interest(one) and not lost
        if not goes_on and now_mono_s - since <= CALM_S:
            return
        with self._lock:
            if camera_id in self._calm_since:
                self._calm_since[camera_id] = now_mono_s
        if not goes_on:
            with suppress(KeyError):
                self.visits.demote(camera_id, lost=lost)

    def _read(self, camera_id: str) -> float | None:
        """Read a camera that is to be watched without a break; return since when it is calm, None: it takes turns."""
        with self._lock:
            since, one = self._calm_since.get(camera_id), self._all.get(camera_id)
            if since is not None and one is not None:
                one.start(self._clock.mono_s())
            return since

    def _whole(self, cameras: int) -> Budget:
        """Return the budget for all: where connections are not bounded, there is one for each camera."""
        return (
            self._budget if self._connections else replace(self._budget, slots=cameras + SLOTS_WITHOUT_BOUND)
        )

    def _start_held(self) -> None:
        for camera_id in self.held:
            one = self._all[camera_id]
            one.pipeline.intake.sight.between_visits(None)
            one.start(self._clock.mono_s())

    def _leave(self, camera_id: str) -> None:
        self.visits.remove(camera_id)
        with self._lock:
            self._calm_since.pop(camera_id, None)
            self._left_mono_s.pop(camera_id, None)
            self._suspected.discard(camera_id)

    def _choice(self, camera_id: str, one: Watched, stays: set[str]) -> StreamChoice:
        known = self._choices.get(camera_id) if camera_id in stays else None
        return known or StreamChoice(1 if one.camera.sub_url is None else 2)

    def _entered(self, camera: Camera) -> turns.Watched:
        """Return what is known of a camera; a stream that would be too large is taken for one that just fits."""
        item = turns.Watched.of(camera, self._confirmed.get(camera.camera_id, 0))
        most = self._budget.mbit_per_s
        return item if most is None else replace(item, mbit_per_s=min(item.mbit_per_s, most))

    def _grab(self, one: Watched, within_s: float) -> Grabbed:
        """Visit the stream that is looked at, or the main one while that cannot be had."""
        camera, choice = one.camera, self._choices.get(one.camera.camera_id) or StreamChoice(1)
        choice.visiting(self._clock.mono_s(), one.pipeline.intake.sight.decoded_mono_s)
        address = camera.url if choice.which else camera.looked_at
        way = Way(address.host, Way.to(camera).through)
        grabber = Grabber(self._clock, self._wiring.admission, self.visits.stopping, within_s=within_s)
        source = self._wiring.source(camera, address, within_s=within_s)
        self.visits.in_line(camera.camera_id, waits=True)
        try:
            grabbed = grabber.grab(source, way, partial(self._take, one), partial(self._begin, one))
        except SourceError as error:
            choice.failed(0.0, lasting=isinstance(error, UnauthorizedError | NotFoundError))
            raise
        choice.opened(self._clock.mono_s())
        one.pipeline.intake.sight.note(Note.SUB_STREAM_AWAY, choice.away)
        return grabbed

    def _begin(self, one: Watched) -> None:
        self.visits.in_line(one.camera.camera_id, waits=False)
        one.pipeline.intake.sight.connecting()

    def _take(self, one: Watched, packet: Packet) -> None:
        if one.ended or one.reads:
            raise StreamEndedError("the visit was called off")
        if packet.camera_ahead_s is not None:
            one.pipeline.intake.sight.clock(packet.camera_ahead_s)
        admitted = one.pipeline.take(packet)
        if admitted is not None:
            self._deliver(one, admitted)

    def _outcome(self, one: Watched, grabbed: Grabbed) -> turns.Outcome:
        """Return what is known when a visit is over; looks that are judged later may say more."""
        if _is_of_interest(one):
            with self._lock:
                self._suspected.add(one.camera.camera_id)
            return turns.Outcome.SUSPICIOUS
        age_s = one.pipeline.intake.sight.status().last_look_age_s
        answered = age_s is not None and self._clock.mono_s() - age_s >= grabbed.began_mono_s
        return turns.Outcome.QUIET if answered else turns.Outcome.SEEN

    def _end_suspicion(self, one: Watched) -> None:
        """Let a camera wait for its usual turn once looks that came after its visit, or later ones, show nothing more."""
        camera_id = one.camera.camera_id
        with self._lock:
            if camera_id not in self._suspected or _is_of_interest(one):
                return
            self._suspected.discard(camera_id)
        with suppress(KeyError):
            self.visits.demote(camera_id)
        if _is_of_interest(one):  # again, just now
            self.suspect(one)

    def _forget_packets(self, one: Watched, now_mono_s: float) -> None:
        """Let go of the packets of a visit: thousands of cameras that are not connected would hold gigabytes."""
        camera_id = one.camera.camera_id
        with self._lock:
            left_mono_s = self._left_mono_s.get(camera_id)
            if left_mono_s is None or now_mono_s - left_mono_s <= KEEP_S or one.claims:
                return
            del self._left_mono_s[camera_id]
        one.pipeline.intake.ring.clear()


def _is_of_interest(one: Watched) -> bool:
    return bool(one.claims) or one.pipeline.judging.suspects or one.pipeline.intake.following.followed


def _hour(now: datetime, zone: tzinfo) -> int:
    return now.astimezone(zone).hour
