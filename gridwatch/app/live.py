# SPDX-License-Identifier: AGPL-3.0-or-later
"""The driver on the wall clock: threads around the pipeline's steps. The newest picture wins; what is late is dropped.

One feed thread per camera (mostly asleep), a few shared decoders, the inference service's workers, one recorder, one ticker.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import structlog

from events.alerts import Alert
from events.incidents import IncidentBook
from gridwatch.app.clips import ClipCutter
from gridwatch.app.pipeline import CameraPipeline
from gridwatch.app.recorder import Recorder
from gridwatch.core.camera import CameraStatus, SightState
from gridwatch.core.clock import Clock
from gridwatch.core.detections import Detections, Unknown
from gridwatch.core.finding import Box, Finding, Stage
from gridwatch.core.frame import Frame
from gridwatch.core.look import Look, LookReason
from gridwatch.core.mailbox import Mailbox
from gridwatch.core.zone import Kind
from ingest.decoder import KeyDecoder
from ingest.errors import IngestError
from ingest.feed import Feed
from ingest.packets import Packet
from models.service.inference import InferenceService

log = structlog.get_logger()

TICK_S = 1.0
SETTLE_AFTER_S = 60.0  # seen so long without a claim, a camera ends what was open before it went blind
STUCK_S = 60.0  # a decoder or a look that takes this long will not come back
LOST_S = 300.0  # so long without a device that answers, while it is opened anew again and again
FeedMaker = Callable[[CameraPipeline, Callable[[Packet], None]], Feed]


@dataclass(slots=True)
class Counts:
    """What the shard has done since it started; written by its threads, read by metrics."""

    decoded: int = 0
    damaged: int = 0
    looks: int = 0
    unknown: int = 0
    findings: int = 0


@dataclass(frozen=True, slots=True)
class ShardSpec:
    """How a shard runs: shared decoders, a clip's seconds, and who is told every second that it lives."""

    decoders: int = 2
    pre_roll_s: float = 5.0
    post_roll_s: float = 5.0
    beat: Callable[[], None] = lambda: None


class Shard:
    """A set of cameras from source to incident book, without module state: the unit of scale."""

    def __init__(
        self,
        pipelines: Sequence[CameraPipeline],
        make_feed: FeedMaker,
        service: InferenceService,
        book: IncidentBook,
        clock: Clock,
        spec: ShardSpec | None = None,
    ) -> None:
        self._pipelines: Mapping[str, CameraPipeline] = {item.camera.camera_id: item for item in pipelines}
        self._book, self._clock, self.service = book, clock, service
        self.to_decode: Mailbox[Packet] = Mailbox()
        self.recorder = Recorder(clock.mono_s)
        self.counts = Counts()
        self._stop = threading.Event()
        self._feeds = [make_feed(item, self._deliver) for item in pipelines]
        spec = spec or ShardSpec()
        self._clips = ClipCutter(spec.pre_roll_s, spec.post_roll_s, self._attach)
        self._beat = spec.beat
        self._threads = [
            threading.Thread(target=self._decode, name=f"decode-{n}", daemon=True)
            for n in range(spec.decoders)
        ]
        self._ticker = threading.Thread(target=self._tick, name="tick", daemon=True)
        self._settle_at: dict[tuple[str, Kind], float] = {}
        self._claims: Mapping[str, set[str]] = {camera_id: set() for camera_id in self._pipelines}  # open now

    def start(self) -> None:
        """Begin to watch."""
        self.recorder.start()
        self.service.start(self._answered)
        for thread in self._threads:
            thread.start()
        for feed in self._feeds:
            feed.start()
        self._ticker.start()

    def stop(self, timeout_s: float = 10.0) -> None:
        """Stop the ticker, then in the order of the flow: feeds, decoders, looks, what waits to be recorded."""
        self._stop.set()
        self._ticker.join(timeout_s / 2)  # it alone starts feeds anew
        for feed in self._feeds:
            feed.stop()
        self.to_decode.close()
        for feed in self._feeds:
            feed.join(timeout_s / 2)
        for thread in self._threads:
            thread.join(timeout_s / 2)
        self.service.stop(timeout_s / 2)
        self.recorder.stop()

    def is_idle(self) -> bool:
        """Tell whether everything that was delivered is decoded, looked at and recorded."""
        return self.to_decode.is_idle() and self.service.is_idle() and self.recorder.waiting == 0

    def troubles(self) -> dict[str, int]:
        """Return what went wrong so far: openings and streams that failed, demuxers left behind, evidence refused."""
        return {
            "stream_failures": sum(feed.failures for feed in self._feeds),
            "feeds_abandoned": sum(feed.abandoned for feed in self._feeds),
            "evidence_refused": self._book.refused_evidence,
        }

    def statuses(self) -> Sequence[CameraStatus]:
        """Return every camera's sight now."""
        return [item.intake.sight.status() for item in self._pipelines.values()]

    def picture(self, camera_id: str) -> bytes | None:
        """Return a camera's last decoded picture as JPEG, at most 640 wide."""
        pipeline = self._pipelines.get(camera_id)
        picture = pipeline.intake.last_picture if pipeline else None
        return picture.jpeg() if picture else None

    def _deliver(self, packet: Packet) -> None:
        self.to_decode.put(packet.camera_id, packet)

    def _decode(self) -> None:
        decoder = KeyDecoder()
        while not self._stop.is_set():
            if (taken := self.to_decode.take(timeout_s=1.0)) is None:
                continue
            camera_id, packet = taken
            try:
                self._decode_one(decoder, self._pipelines[camera_id], packet)
            except Exception:  # one camera's trouble must not end a shared thread
                self.counts.damaged += 1
                log.exception("decode_failed", camera_id=camera_id)
            finally:
                self.to_decode.done(camera_id)

    def _decode_one(self, decoder: KeyDecoder, pipeline: CameraPipeline, packet: Packet) -> None:
        try:
            frame = decoder.decode(packet)
        except IngestError as error:
            self.counts.damaged += 1
            pipeline.intake.damaged(str(error))
            return
        self.counts.decoded += 1
        look = pipeline.see(packet, frame)
        if look is not None:
            urgent = look.why is LookReason.FOLLOW or bool(self._claims[look.camera_id])
            self.service.submit(look, pipeline.judging.parts, urgent=urgent)

    def _answered(self, look: Look, answer: Detections | Unknown) -> None:
        """Judge what the service found, on its thread; for one camera never twice at a time."""
        pipeline = self._pipelines[look.camera_id]
        self.counts.looks += 1
        self.counts.unknown += isinstance(answer, Unknown)
        try:
            pipeline.answered(look, answer)
            for finding in pipeline.judge(look, answer):
                self._note(finding)
                self._submit(pipeline, finding, look, answer)
        except Exception:  # as in `_decode`; a look that was not judged is unknown, whatever the network said
            self.counts.unknown += not isinstance(answer, Unknown)
            pipeline.intake.sight.unknown("a look could not be judged")
            log.exception("look_failed", camera_id=look.camera_id)

    def _note(self, finding: Finding) -> None:
        """Remember which claims are open: their cameras' looks come first."""
        self.counts.findings += 1
        if finding.stage is Stage.ENDED:
            self._claims[finding.camera_id].discard(finding.finding_id)
        else:
            self._claims[finding.camera_id].add(finding.finding_id)

    def _submit(
        self, pipeline: CameraPipeline, finding: Finding, look: Look, answer: Detections | Unknown
    ) -> None:
        frame, persons = self._evidence_of(pipeline, finding, look, answer)

        def record() -> None:
            alert = self._book.record(finding, frame, persons)
            if alert is None:
                return
            log.info("incident", **_told(alert))
            if finding.stage is Stage.OPENED and alert.clip.state == "pending":
                self._clips.order(alert.id, pipeline.intake.ring, finding.at_mono_s)

        self.recorder.submit(record, may_be_dropped=finding.stage is Stage.UPDATED)

    def _evidence_of(
        self, pipeline: CameraPipeline, finding: Finding, look: Look, answer: Detections | Unknown
    ) -> tuple[Frame | None, tuple[Box, ...]]:
        try:
            return pipeline.evidence_of(finding, look, answer)
        except Exception:  # a claim without a picture is worth more than none
            log.exception("evidence_failed", camera_id=look.camera_id)
            return None, ()

    def _attach(self, incident_id: str, mp4: bytes | None) -> None:
        self.recorder.submit(lambda: self._book.attach_clip(incident_id, mp4))

    def _tick(self) -> None:
        while not self._stop.wait(TICK_S):
            for camera_id, pipeline in self._pipelines.items():
                self._attempt(lambda: self._watch_sight(camera_id, pipeline))  # noqa: B023  called at once
            for feed in self._feeds:
                self._attempt(feed.check)
            self._attempt(lambda: self._clips.step(self._clock.mono_s()))
            self._attempt(self._live)

    def _attempt(self, step: Callable[[], object]) -> None:
        try:
            step()
        except Exception:  # the ticker watches over everything else: it must outlive every fault
            log.exception("tick_failed")

    def _live(self) -> None:
        """Beat, unless only a new process can help; the parent replaces this one then.

        That is so when workers are stuck in native code, and when a device stays lost: a driver's context that broke is
        whole again only in another process.
        """
        stuck_s = max(self.to_decode.longest_in_work_s(), self.service.longest_in_work_s())
        lost_s = self.service.device.lost_for_s()
        if stuck_s < STUCK_S and lost_s < LOST_S:
            self._beat()
        else:
            log.error("process_to_be_replaced", stuck_s=round(stuck_s), device_lost_s=round(lost_s))

    def _watch_sight(self, camera_id: str, pipeline: CameraPipeline) -> None:
        """Tell the incident book when a camera goes blind, and when it has seen again for long enough."""
        change = pipeline.intake.sight.tick()
        now = self._clock.mono_s()
        if change is not None:
            log.info(
                "sight", camera_id=camera_id, state=change.after, before=change.before, reason=change.reason
            )
            for kind in Kind:
                self._settle_at.pop((camera_id, kind), None)
                if change.after is SightState.SEEING:
                    wait_s = max(SETTLE_AFTER_S, pipeline.judging.claims_within_s(kind))
                    self._settle_at[camera_id, kind] = now + wait_s
            if change.after is not SightState.SEEING:
                self.recorder.submit(lambda: self._book.camera_lost(camera_id, change.reason))
        for kind in Kind:
            if now >= self._settle_at.get((camera_id, kind), now + 1):
                del self._settle_at[camera_id, kind]
                self.recorder.submit(partial(self._book.settle, camera_id, kind))


def _told(alert: Alert) -> dict[str, object]:
    return {
        "id": alert.id,
        "revision": alert.revision,
        "kind": alert.kind,
        "camera_id": alert.camera_id,
        "activity": alert.activity,
    }
