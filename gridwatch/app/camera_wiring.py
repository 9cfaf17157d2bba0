# SPDX-License-Identifier: AGPL-3.0-or-later
"""Puts one camera's parts together; what they share stands here: admission, the budget for following, what was kept of each picture."""

import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from detectors.judge import Judge
from gridwatch.app.cameras import why_off
from gridwatch.app.clips import CUT_WITHIN_S
from gridwatch.app.homes import Homes
from gridwatch.app.people import Detect
from gridwatch.app.pipeline import CameraPipeline
from gridwatch.app.set_aside import SetAside
from gridwatch.app.settings import EvidenceSettings, IngestSettings
from gridwatch.app.watched import Deliver, Watched
from gridwatch.core.camera import Address, Camera, EvidenceFrom, Fault, Watch
from gridwatch.core.clock import Clock
from ingest.admission import Admission, AdmissionLimits
from ingest.backoff import Backoff
from ingest.evidence_feed import EvidenceFeed
from ingest.feed import Feed
from ingest.follow_budget import FollowBudget
from ingest.gate import Gate, GateBounds
from ingest.health import PictureHealth
from ingest.intake import CameraIntake
from ingest.ring import Ring
from ingest.rtsp import RtspOptions, RtspSource

MIB = 1 << 20
_VISIT_STALLS = 0.8  # of a visit's time


class CameraWiring:
    """Makes the parts of cameras.

    Args:
        network: answers looks where evidence needs one more.
        set_aside: tells the cameras whose streams crashed the decoder, by id; they are not connected to.
        unusable: tells why cameras of the register cannot be used, by id; they are off.
        clips: how long clips are: memory is to hold one; the usual ones where nothing is said.

    Attributes:
        clock: the machine's.
        admission: shared by every connection of this process.
        follow: shared by every camera.
    """

    def __init__(  # noqa: PLR0913  what all cameras share, each with a default
        self,
        settings: IngestSettings,
        network: Detect,
        clock: Clock,
        *,
        homes: Homes | None = None,
        set_aside: Callable[[], Mapping[str, SetAside]] = dict,
        unusable: Callable[[], Mapping[str, str]] = dict,
        clips: EvidenceSettings | None = None,
    ) -> None:
        self._settings, self._network, self.clock = settings, network, clock
        self._clips = clips or EvidenceSettings()
        self._homes, self._set_aside, self._unusable = homes, set_aside, unusable
        self._rng = random.Random()  # noqa: S311  spreads connections; no secret
        limits = AdmissionLimits(settings.connects_per_host, settings.connects_per_s, settings.sessions)
        self.admission = Admission(clock, self._rng, limits)
        self.follow = FollowBudget(settings.follow_at_most)

    def wire(self, camera: Camera, deliver: Deliver) -> Watched:
        """Return a camera's parts; nothing is started."""
        home = self._homes.load(camera) if self._homes else None
        health = PictureHealth(patrols=camera.patrols, home=home)
        intake = CameraIntake(
            camera, self.clock, ring=self._ring(), gate=self._gate(), health=health, follow=self.follow
        )
        addresses = [camera.looked_at] if camera.sub_url is None else [camera.sub_url, camera.url]
        feed = Feed(
            intake,
            [partial(self.source, camera, address) for address in addresses],
            deliver,
            clock=self.clock,
            backoff=Backoff(self._rng),
            admission=self.admission,
        )
        pipeline = CameraPipeline(camera, intake, self._network, Judge(camera))
        watched = Watched(pipeline, feed, self._evidence(camera), health, self._homes)
        self._switch(watched)
        return watched

    def source(self, camera: Camera, address: Address, *, within_s: float | None = None) -> RtspSource:
        """Return what reads one of a camera's streams; `within_s`: it is only visited, for so long at most."""
        options = RtspOptions(transport=camera.transport)
        if within_s is not None:
            stall_s = min(options.stall_s, _VISIT_STALLS * within_s)
            options = replace(options, stall_s=stall_s, open_s=min(options.open_s, within_s))
        return RtspSource(camera.camera_id, address, self.clock, options)

    def _evidence(self, camera: Camera) -> EvidenceFeed | None:
        if camera.sub_url is None:
            return None
        return EvidenceFeed(
            camera,
            partial(self.source, camera, camera.url),
            clock=self.clock,
            backoff=Backoff(self._rng),
            admission=self.admission,
            make_ring=partial(self._ring, before=camera.evidence is EvidenceFrom.ALWAYS),
        )

    def _switch(self, watched: Watched) -> None:
        """Leave a camera alone that nobody wants to be watched, that cannot be used, or that crashed the decoder."""
        camera, sight = watched.camera, watched.pipeline.intake.sight
        aside = self._set_aside().get(camera.camera_id)
        if aside is not None:
            sight.switch(Watch.OFF, aside.reason, Fault.SET_ASIDE)
        elif camera.watch is Watch.ON:
            return
        elif (problem := self._unusable().get(camera.camera_id)) is not None:
            sight.switch(Watch.OFF, problem, Fault.UNAUTHORIZED)
        else:
            sight.switch(camera.watch, why_off(camera))
        watched.connects = False

    def _ring(self, *, before: bool = True) -> Ring:
        """Return an empty memory; `before`: clips cut from it show the time before an opening."""
        settings, clips = self._settings, self._clips
        clip_s = clips.post_roll_s + (clips.pre_roll_s if before else 0.0)
        return Ring(
            span_s=settings.ring_s, max_bytes=int(settings.ring_mib * MIB), clip_s=clip_s + CUT_WITHIN_S
        )

    def _gate(self) -> Gate:
        return Gate(GateBounds(look_every_s=self._settings.look_every_s))
