# SPDX-License-Identifier: AGPL-3.0-or-later
"""The driver on the wall clock: threads around the pipeline's steps. The newest picture wins; what is late is dropped.

One feed thread per camera (mostly asleep), a few shared decoders, the inference service's workers, one recorder, one ticker.
"""

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

import structlog

from events.alerts import Alert
from events.evidence import Shot
from events.incidents import IncidentBook
from gridwatch.app.clips import ClipCutter
from gridwatch.app.details import WITHIN_S, Details
from gridwatch.app.homes import Homes
from gridwatch.app.look_line import LookLine
from gridwatch.app.people import persons_in
from gridwatch.app.recorder import Recorder
from gridwatch.app.shard_spec import Counts, ShardSpec
from gridwatch.app.sight_watch import SightWatch
from gridwatch.app.stills import Stills
from gridwatch.app.taking_turns import TakingTurns
from gridwatch.app.watched import Watched, Wire
from gridwatch.core.camera import Camera, CameraStatus
from gridwatch.core.clock import Clock
from gridwatch.core.detections import Detections, Unknown
from gridwatch.core.finding import Box, Finding, Stage
from gridwatch.core.frame import Frame
from gridwatch.core.look import Look, LookReason
from gridwatch.core.mailbox import Mailbox
from ingest.decoder import KeyDecoder
from ingest.errors import IngestError
from ingest.packets import Packet
from models.service.inference import InferenceService

log = structlog.get_logger()

TICK_S = 1.0
STUCK_S = 60.0  # a decoder or a look that takes this long will not come back
GONE = "the camera was removed or changed"
LOST_S = 300.0  # so long without a device that answers, while it is opened anew again and again


class Shard:
    """A set of cameras from source to incident book, without module state: the unit of scale.

    Cameras are given with `set_cameras`, before the start and whenever they change.
    """

    def __init__(
        self,
        wire: Wire,
        service: InferenceService,
        book: IncidentBook,
        clock: Clock,
        spec: ShardSpec | None = None,
    ) -> None:
        self._wire, self._book, self._clock, self.service = wire, book, clock, service
        # Replaced as a whole, never changed: threads read it without a lock.
        self._watched: Mapping[str, Watched] = {}
        self._changing = threading.Lock()
        self.to_decode: Mailbox[tuple[Watched, Packet]] = Mailbox()
        self.recorder = Recorder(clock.mono_s)
        self.counts = Counts()
        self._line = LookLine(self._ask)
        self._sights = SightWatch(book, self.recorder.submit)
        self._stop = threading.Event()
        self._started = False
        self._spec = spec = spec or ShardSpec()
        self.follow = spec.follow
        self._turns: TakingTurns | None = None
        self._stills = Stills(spec.page, spec.decoders)
        self._clips = ClipCutter(spec.pre_roll_s, spec.post_roll_s, self._attach)
        people = partial(persons_in, service.device)
        self._details = Details(people, self._attach_detail, clock, spec.post_roll_s, spec.page)
        self._beat = spec.beat
        self._threads = [
            threading.Thread(target=self._decode, args=(n,), name=f"decode-{n}", daemon=True)
            for n in range(spec.decoders)
        ]
        self._ticker = threading.Thread(target=self._tick, name="tick", daemon=True)

    @property
    def turns(self) -> TakingTurns | None:
        """What has the cameras visited in turn; None where all are read all the time."""
        return self._turns

    def take_turns(self, turns: TakingTurns) -> None:
        """Have the cameras visited in turn, in place of being read all the time. Before there are any."""
        self._turns = turns

    def set_cameras(self, cameras: Sequence[Camera]) -> tuple[int, int, int]:
        """Watch exactly these cameras from now on; those that are the same as before notice nothing.

        Returns:
            How many are new, changed and gone.
        """
        with self._changing:
            before = self._watched
            kept = {c.camera_id: before[c.camera_id] for c in cameras if self._is_same(c)}
            made = {c.camera_id: self._made(c) for c in cameras if c.camera_id not in kept}
            self._watched = {c.camera_id: kept.get(c.camera_id) or made[c.camera_id] for c in cameras}
            gone = [one for camera_id, one in before.items() if camera_id not in kept]
            for one in gone:
                self._let_go(one)
            if self._turns is not None:
                self._turns.take(self._watched.values())
            elif self._started and not self._stop.is_set():
                self._start(made.values())
            changed = sum(camera_id in before for camera_id in made)
            return len(made) - changed, changed, len(gone) - changed

    def weigh(self, confirmed: Mapping[str, int]) -> None:
        """Take over how many incidents operators confirmed of late, by camera; matters where cameras take turns."""
        with self._changing:
            if self._turns is not None:
                self._turns.weigh(confirmed)

    def start(self) -> None:
        """Begin to watch."""
        self.recorder.start()
        self.service.start(self._answered)
        self._details.start()
        for thread in self._threads:
            thread.start()
        with self._changing:
            self._started = True
            if self._turns is not None:
                self._turns.start()
            else:
                self._start(self._watched.values())
        self._ticker.start()

    def stop(self, timeout_s: float = 10.0) -> None:
        """Stop the ticker, then in the order of the flow: feeds, decoders, looks, what waits to be recorded."""
        self._stop.set()
        self._ticker.join(timeout_s / 2)
        if self._turns is not None:
            self._turns.visits.stop()
        with self._changing:  # what comes after it starts nothing any more
            watched = list(self._watched.values())
        for one in watched:
            one.end()
        self.to_decode.close()
        until_s = time.monotonic() + timeout_s / 2
        for one in watched:
            one.join(max(0.0, until_s - time.monotonic()))
        if self._turns is not None:
            self._turns.visits.join(max(0.0, until_s - time.monotonic()))
        for thread in self._threads:
            thread.join(timeout_s / 2)
        self.service.stop(timeout_s / 2)
        self._details.stop(timeout_s / 2)
        self.recorder.stop()

    def is_idle(self) -> bool:
        """Tell whether everything that was delivered is decoded, looked at and recorded."""
        return (
            self.to_decode.is_idle()
            and self._line.is_idle()
            and self.service.is_idle()
            and self.recorder.waiting == 0
        )

    def troubles(self) -> dict[str, int]:
        """Return what went wrong so far, by name."""
        watched = self._watched.values()
        return {
            "stream_failures": self.counts.left_failures + sum(one.failures for one in watched),
            "feeds_abandoned": self.counts.left_abandoned + sum(one.abandoned for one in watched),
            "evidence_refused": self._book.refused_evidence,
            "burst_looks_dropped": self._line.dropped,
            "follow_overflows": self.counts.left_overflows
            + sum(one.pipeline.intake.following.overflows for one in watched),
        }

    def cameras(self) -> Sequence[Camera]:
        """Return the cameras that are watched, in the order in which they were given."""
        return [one.camera for one in self._watched.values()]

    def find(self, camera_id: str) -> Watched | None:
        """Return a camera's parts; None where it is not watched."""
        return self._watched.get(camera_id)

    def statuses(self) -> Sequence[CameraStatus]:
        """Return every camera's sight now."""
        return [one.pipeline.intake.sight.status() for one in self._watched.values()]

    def picture(self, camera_id: str) -> bytes | None:
        """Return a camera's last decoded picture as JPEG, at most 640 wide."""
        one = self._watched.get(camera_id)
        return self._stills.of(one.pipeline.intake) if one else None

    def accept_view(self, camera_id: str) -> bool:
        """Take what a camera shows from now on for what its zones are drawn on; return whether there is such a camera."""
        one = self._watched.get(camera_id)
        return one is not None and one.accept_view()

    def keep_homes(self, homes: Homes) -> None:
        """Have the cameras' home views kept over a restart."""
        for one in self._watched.values():
            if one.health is not None:
                homes.keep(one.camera, one.health.home)
        homes.prune(self.cameras())

    def _is_same(self, camera: Camera) -> bool:
        one = self._watched.get(camera.camera_id)
        return one is not None and one.camera == camera

    def _made(self, camera: Camera) -> Watched:
        if (before := self._watched.get(camera.camera_id)) is not None:
            before.keep_home()  # what is wrong with its picture is so after a change of its name too
        made: list[Watched] = []
        one = self._wire(camera, lambda packet: self.deliver(made[0], packet))
        made.append(one)
        return one

    def _start(self, watched: Iterable[Watched]) -> None:
        for one in watched:
            one.start(self._clock.mono_s())

    def _let_go(self, one: Watched) -> None:
        """Stop reading a camera that is gone or was changed; its thread ends at its next packet."""
        camera_id = one.camera.camera_id
        one.end()
        self.counts.left_failures += one.failures
        self.counts.left_abandoned += one.abandoned
        self.counts.left_overflows += one.pipeline.intake.following.overflows
        self.to_decode.drop(camera_id)
        self._line.forget(camera_id)
        self.service.forget(camera_id)
        self._sights.lost(camera_id, GONE)
        self.recorder.submit(lambda: self._book.let_go(tuple(one.claims)))

    def deliver(self, one: Watched, packet: Packet) -> None:
        """Have a packet decoded, in place of an older one of its camera that still waits."""
        if not one.ended:
            self.to_decode.put(packet.camera_id, (one, packet))

    def _decode(self, slot: int) -> None:
        decoder, page = KeyDecoder(self._spec.decode_on), self._spec.page
        while not self._stop.is_set():
            if (taken := self.to_decode.take(timeout_s=1.0)) is None:
                continue
            camera_id, (one, packet) = taken
            try:
                with page.decoding(slot, camera_id):
                    self._decode_one(decoder, one, packet)
            except Exception:  # one camera's trouble must not end a shared thread
                self.counts.damaged += 1
                one.pipeline.intake.damaged("a picture could not be taken")
                log.exception("decode_failed", camera_id=camera_id)
            finally:
                self.to_decode.done(camera_id)

    def _decode_one(self, decoder: KeyDecoder, one: Watched, packet: Packet) -> None:
        try:
            for seen, frame in one.pipeline.pictures(decoder, packet):
                if one.ended:  # between two pictures: what was seen of it is nobody's any more
                    return
                self.counts.decoded += 1
                looks = one.pipeline.see(seen, frame)
                one.ask(looks)
                self._line.put(looks)
        except IngestError as error:
            self.counts.damaged += 1
            one.pipeline.intake.damaged(str(error))

    def _ask(self, look: Look) -> None:
        one = self._asker(look)
        if one is None:
            self._line.answered(look)  # or what follows it would wait for ever
            return
        urgent = look.why is LookReason.FOLLOW or bool(one.claims)
        self.service.submit(look, one.pipeline.judging.parts_for(look), urgent=urgent)

    def _asker(self, look: Look) -> Watched | None:
        """Return whose look it is; None if that camera is gone, though another may have its id."""
        one = self._watched.get(look.camera_id)
        return one if one is not None and one.asked(look) else None

    def _answered(self, look: Look, answer: Detections | Unknown) -> None:
        """Judge what the service found, on its thread; for one camera never twice at a time."""
        self.counts.looks += 1
        self.counts.unknown += isinstance(answer, Unknown)
        one = self._asker(look)
        try:
            if one is not None:
                self._judge(one, look, answer)
        finally:
            self._line.answered(look)

    def _judge(self, one: Watched, look: Look, answer: Detections | Unknown) -> None:
        pipeline = one.pipeline
        try:
            pipeline.answered(look, answer)
            for finding in pipeline.judge(look, answer):
                self.counts.findings += 1
                one.note(finding)
                self._submit(one, finding, look, answer)
            if self._turns is not None and pipeline.judging.suspects:
                self._turns.suspect(one)
        except Exception:  # as in `_decode`; a look that was not judged is unknown, whatever the network said
            self.counts.unknown += not isinstance(answer, Unknown)
            pipeline.intake.sight.unknown("a look could not be judged", at_once=True)
            log.exception("look_failed", camera_id=look.camera_id)

    def _submit(self, one: Watched, finding: Finding, look: Look, answer: Detections | Unknown) -> None:
        frame, persons = self._evidence_of(one, finding, look, answer)

        def record() -> None:
            alert = self._book.record(finding, frame, persons)
            if self.find(finding.camera_id) is not one:  # gone while this waited: nobody sees it any more
                self._book.let_go((finding.finding_id,))
                self._book.camera_lost(finding.camera_id, GONE)
            if alert is None:
                return
            log.info("incident", **_told(alert))
            begins = finding.stage is Stage.OPENED or alert.revision == 1
            if begins and alert.clip.state == "pending":
                one.hold_evidence(finding.at_mono_s + self._spec.post_roll_s + WITHIN_S)
                choose = self._details.order(alert.id, one, finding)
                self._clips.order(alert.id, choose, finding.at_mono_s)

        self.recorder.submit(record, may_be_dropped=finding.stage is Stage.UPDATED)

    def _evidence_of(
        self, one: Watched, finding: Finding, look: Look, answer: Detections | Unknown
    ) -> tuple[Frame | None, tuple[Box, ...]]:
        try:
            return one.pipeline.evidence_of(finding, look, answer)
        except Exception:  # a claim without a picture is worth more than none
            log.exception("evidence_failed", camera_id=look.camera_id)
            return None, ()

    def _attach(self, incident_id: str, mp4: bytes | None, pre_roll_s: float | None) -> None:
        self.recorder.submit(lambda: self._book.attach_clip(incident_id, mp4, pre_roll_s))

    def _attach_detail(self, incident_id: str, shot: Shot | None = None, mp4: bytes | None = None) -> None:
        self.recorder.submit(lambda: self._book.attach_detail(incident_id, shot, mp4))

    def _tick(self) -> None:
        while not self._stop.wait(TICK_S):
            watched, now = self._watched, self._clock.mono_s()
            for one in watched.values():
                self._attempt(lambda: self._watch(one, now))  # noqa: B023  called at once
            self._sights.forget_others(watched)
            self._attempt(lambda: self._clips.step(self._clock.mono_s()))
            self._attempt(self._live)

    def _watch(self, one: Watched, now_mono_s: float) -> None:
        """Look after one camera: the thread that reads it, and its sight."""
        if one.ended:
            return
        one.check(now_mono_s)
        self._sights.step(one.camera.camera_id, one.pipeline.intake.sight, one.pipeline.judging)
        if self._turns is not None:
            self._turns.check(one, now_mono_s)

    def _attempt(self, step: Callable[[], object]) -> None:
        try:
            step()
        except Exception:  # the ticker watches over everything else: it must outlive every fault
            log.exception("tick_failed")

    def _live(self) -> None:
        """Beat, unless only a new process can help; the parent replaces this one then.

        That is so when workers or all visits are stuck in native code, and when a device stays lost: a driver's context
        that broke is whole again only in another process.
        """
        stuck_s = max(self.to_decode.longest_in_work_s(), self.service.longest_in_work_s())
        lost_s = self.service.device.lost_for_s()
        visits = self._turns is not None and self._turns.stuck
        ended = self._started and not all(thread.is_alive() for thread in self._threads)
        if stuck_s < STUCK_S and lost_s < LOST_S and not (visits or ended or self.recorder.ended):
            self._beat()
        else:
            log.error(
                "process_to_be_replaced",
                stuck_s=round(stuck_s),
                device_lost_s=round(lost_s),
                visits_stuck=visits,
                threads_ended=ended or self.recorder.ended,
            )


def _told(alert: Alert) -> dict[str, object]:
    return {
        "id": alert.id,
        "revision": alert.revision,
        "kind": alert.kind,
        "camera_id": alert.camera_id,
        "activity": alert.activity,
    }
