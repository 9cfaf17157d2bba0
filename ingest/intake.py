# SPDX-License-Identifier: AGPL-3.0-or-later
"""The steps of one camera from packet to looks, without threads: the same live and in lockstep."""

from collections.abc import Iterator, Sequence

import av
import numpy as np
from numpy.typing import NDArray

from gridwatch.core.camera import Camera, Fault, Note
from gridwatch.core.clock import Clock
from gridwatch.core.look import Interest, Look, LookReason
from gridwatch.core.zone import Kind
from ingest.decoder import KeyDecoder
from ingest.errors import DamagedError, StreamEndedError
from ingest.follow import Cadence, Follower
from ingest.follow_budget import FollowBudget
from ingest.following import LOOKS_STEP_S, Following
from ingest.frame import DecodedFrame, Shrinker
from ingest.gate import HEIGHT, WIDTH, Gate
from ingest.health import PictureHealth
from ingest.hint import SizeHint
from ingest.packets import Packet
from ingest.ring import Ring
from ingest.sampler import Sampler
from ingest.sight import Sight

_NUDGE_S, _NUDGE_AGAIN_S = 0.2, 2.0  # of a followed camera: a decoder is woken for so much of its stream
_AT_ONCE = 100  # packets of one camera: others wait for the same decoder
_IDLE_STEP_S = 1.0  # between pictures of a stream without key frames while nothing happens
_GATE_STEP_S = 0.9  # between two pictures that the gate compares, where they are no key frames
_KEYS_STEP_S = 0.3
_KEYS_EARLIER_S = 0.2  # a key frame is compared anyway: it may be the look that was due a little later
_LOOKS_BEFORE = 10
_STRANDED_S, _REOPEN_EVERY_S = 3.0, 60.0
_TIME_BEGAN_ANEW_S = 60.0
_HINT_EVERY_S = 20.0


class CameraIntake:
    """What a camera's packets and pictures go through.

    `take` belongs to the thread that reads the stream; `pictures`, `see` and `damaged` to whoever decodes, one at a time;
    `follow` to whoever judges.

    Args:
        health: judges the picture itself; None: it is not judged.
        follow: who may be followed, shared by all cameras; None: nobody is.

    Attributes:
        camera: what is watched.
        ring: the last seconds of packets.
        sight: whether it sees.
        following: whether it is decoded picture by picture.
        shown: what the last picture is made of: its key frame, or the picture itself, at most 640 wide; None before the first.
        decoded: pictures decoded so far, those that nobody looked at included.
        main_short: the memory of the main stream is too small, where that is kept beside the one that is looked at.
    """

    def __init__(  # noqa: PLR0913  the parts of a camera, each with a default
        self,
        camera: Camera,
        clock: Clock,
        *,
        ring: Ring | None = None,
        gate: Gate | None = None,
        sight: Sight | None = None,
        health: PictureHealth | None = None,
        follow: FollowBudget | None = None,
    ) -> None:
        self.camera = camera
        self.ring = ring or Ring()
        self.sight = sight or Sight(camera.camera_id, camera.name, clock)
        self.following = Following(camera.camera_id, self.ring, clock, follow)
        self.shown: Packet | DecodedFrame | None = None
        self.decoded = 0
        self.main_short = False
        self._clock, self._gate, self._health = clock, gate or Gate(), health
        kinds = {kind for zone in camera.zones for kind in zone.kinds}
        self._closely = bool(
            kinds & {Kind.FIRE, Kind.SMOKE}
        )  # nothing else comes and goes between key frames
        self._sampler = Sampler()
        self._hint = SizeHint()
        self._hinted: Packet | None = None
        self._nudge = Cadence(_NUDGE_S)
        # What `take` returned last, and what a decoder came for last: each is written by one thread alone.
        self._handed: Packet | None = None
        self._fetched: Packet | None = None
        self._reopened_mono_s = float("-inf")
        self._noted: dict[Note, bool] = {}
        # of the decoding thread
        self._device = "cpu"
        self._follower: Follower | None = None
        self._chain = 0
        self._cadence = Cadence(LOOKS_STEP_S)
        self._gate_cadence = Cadence(_GATE_STEP_S)
        self._shrinker = Shrinker()
        self._picture_mono_s = float("-inf")
        self._restless = False
        self._change = 0.0
        self._early: list[tuple[Packet, DecodedFrame]] | None = None  # before the picture that a hint brought
        self._due = True  # the picture that was yielded last is to be looked at where the camera is followed
        self._at_home = True

    def take(self, packet: Packet) -> Packet | None:
        """Remember `packet`; return what a decoder is to be given, None if it has nothing to do.

        Of a usual camera that is a key frame, at most three a second. Of one that is decoded picture by picture it only says
        that packets wait.

        Raises:
            StreamEndedError: no key frame comes to begin with; a stream that is opened anew begins with one.
        """
        self.following.keep(packet)
        sampler = self._sampler
        alone = sampler.admits(packet, memory_share=self.ring.share_of_newest if sampler.unproven else 0.0)
        if sampler.keyless is not self.following.everything:
            self.following.set_everything(on=sampler.keyless)
            self._note(Note.NO_KEY_FRAMES, on=sampler.keyless)
        if packet.is_key or sampler.keyless:
            self._note(Note.RING_SHORT, on=self.ring.short or self.main_short)
        larger, waits = self._hint.take(packet), self._handed is not self._fetched
        if not self.following.active:
            if alone:
                self.sight.handed()
            wanted = alone or (larger and not waits and self._hints(packet))
            return self._hand(packet) if wanted else None
        self._check_stranded()
        # What was handed out waits still: another one would only replace it. One that got lost must not end it all.
        waits = waits and self._nudge.since_s(packet.at_mono_s) < _NUDGE_AGAIN_S
        return None if waits or not self._nudge.is_due(packet.at_mono_s) else self._hand(packet)

    def pictures(self, decoder: KeyDecoder, packet: Packet) -> Iterator[tuple[Packet, DecodedFrame]]:
        """Yield the pictures that are to be seen now, each with its packet: a key frame, or what following brings.

        Raises:
            DamagedError: the key frame cannot be decoded.
        """
        self._device, self._shrinker, self._fetched = decoder.device_for(packet), decoder.shrinker, packet
        self.following.renew()
        if self.following.active:
            yield from self._followed()
            return
        self._follower = None
        if packet is self._hinted:
            yield from self._so_far()
        elif packet.is_key:
            self._due = True
            frame = decoder.decode(packet)
            self.decoded += 1
            yield packet, frame

    def see(self, packet: Packet, frame: DecodedFrame) -> list[Look]:
        """Note the picture of `packet`; return what the network should see, in order of time.

        Usually that is nothing or this picture. Where something changed after it was quiet, what lies between it and the key
        frame before comes first, decoded from memory.
        """
        self._picture_mono_s = packet.at_mono_s
        self.shown = packet if packet.is_key and not self.following.everything else frame.reduced()
        if self._early is not None:
            return self._hint_proves(packet, frame)
        if not packet.is_key and not self._is_for_gate(packet):
            return self._followed_look(packet, frame)
        self._gate_cadence.passed(packet.at_mono_s)
        small, seen = self._shrink(frame), None
        if self._health is not None:
            seen = self._health.see(small, packet.at_mono_s, is_key=packet.is_key)
            self._at_home = seen.at_home
        self.sight.decoded(packet.at_mono_s, seen)
        why, self._change = self._gate.admit(small, packet.at_mono_s)
        was_restless, self._restless = self._restless, why is LookReason.SUSPECT
        before = self._looked_into(packet) if self._restless and not was_restless else []
        self._judge_interest(packet)
        if self.following.followed:
            return [*before, *self._followed_look(packet, frame)]
        return before if why is None else [*before, self._look(packet, frame, why)]

    def picture(self, decoder: KeyDecoder) -> DecodedFrame | None:
        """Return the last picture, decoded anew where it is a key frame's: keeping it would cost as much each time.

        Raises:
            DamagedError: it cannot be decoded.
        """
        shown = self.shown
        return decoder.decode(shown) if isinstance(shown, Packet) else shown

    def follow(self, interest: Interest) -> None:
        """Say how much the detectors want the camera to be followed, after each of its looks was judged."""
        self.following.wish(interest)
        self._note(Note.NOT_FOLLOWED, on=self.following.refused)

    def damaged(self, reason: str) -> None:
        """Say that a picture could not be decoded; a camera that sends nothing better becomes blind."""
        self.sight.failed(reason, Fault.DAMAGED)

    def _hand(self, packet: Packet) -> Packet:
        self._handed = packet
        return packet

    def _hints(self, packet: Packet) -> bool:
        """Note that packets are larger than usual; return whether that is to be looked into now."""
        last = self._hinted
        if last is not None and 0.0 <= packet.at_mono_s - last.at_mono_s < _HINT_EVERY_S:
            return False
        self._hinted = packet
        return True

    def _so_far(self) -> Iterator[tuple[Packet, DecodedFrame]]:
        """Yield the newest picture of the group that is being received; what was passed on the way waits in `_early`."""
        group = self.ring.newest_group()
        if not group or not self.following.may_decode_group():
            return
        cadence = Cadence(self._step_s(group[0], group[-1]), group[0].at_mono_s)
        passed, newest = [], None
        for packet, video in self._group(group):
            newest = packet, video
            if cadence.is_due(packet.at_mono_s):
                passed.append((packet, DecodedFrame(video)))
        if newest is None or newest[0].at_mono_s <= self._picture_mono_s:
            return
        self._early = [pair for pair in passed if pair[0] is not newest[0]]
        yield newest[0], DecodedFrame(newest[1])
        self._early = None

    def _hint_proves(self, packet: Packet, frame: DecodedFrame) -> list[Look]:
        before, self._early = self._early or [], None
        change = self._gate.change_in(self._shrink(frame))
        self._hint.proved(right=change is not None)
        if change is None:
            return []
        self._change, self._restless = change, True
        self._gate.changed(packet.at_mono_s)
        self.following.changed(packet.at_mono_s)
        self._judge_interest(packet)
        return [self._look(*pair, LookReason.FOLLOW) for pair in (*before, (packet, frame))]

    def _judge_interest(self, packet: Packet) -> None:
        self.following.judge(packet.at_mono_s, restless=self._restless and self._closely)
        self._note(Note.NOT_FOLLOWED, on=self.following.refused)

    def _step_s(self, first: Packet, last: Packet) -> float:
        """Return the seconds between looks at a group from memory: two a second, of a long one at most ten in all."""
        return max(LOOKS_STEP_S, (last.at_mono_s - first.at_mono_s) / _LOOKS_BEFORE)

    def _followed(self) -> Iterator[tuple[Packet, DecodedFrame]]:
        packets, chain = self.following.take(_AT_ONCE)
        follower = self._follower
        if follower is None or chain != self._chain:
            follower, self._chain = Follower(self._device), chain
            self._follower = follower
            self._cadence.passed(self._picture_mono_s)
        self._cadence.step_s = LOOKS_STEP_S if self.following.followed else _IDLE_STEP_S
        for packet in packets:
            for shown, video in self._decoded(follower, packet):
                if self._is_seen(shown):
                    yield shown, DecodedFrame(video)
        if packets and follower.lost:
            self.following.lost(chain)

    def _decoded(self, follower: Follower, packet: Packet) -> list[tuple[Packet, av.VideoFrame]]:
        try:
            found = follower.decode(packet)
        except DamagedError as error:
            self.damaged(error.reason)
            return []
        self.decoded += len(found)
        return found

    def _is_seen(self, shown: Packet) -> bool:
        """Tell whether a picture of a followed stream is looked at, or at least compared: key frames with each other."""
        at_mono_s = shown.at_mono_s
        if 0.0 <= self._picture_mono_s - at_mono_s < _TIME_BEGAN_ANEW_S:
            return False  # it was seen already, or a newer one was
        compared = shown.is_key and self._gate_cadence.since_s(at_mono_s) >= _KEYS_STEP_S
        self._due = self._cadence.is_due(at_mono_s, earlier_s=_KEYS_EARLIER_S if compared else 0.0)
        return compared or self._due

    def _is_for_gate(self, packet: Packet) -> bool:
        return self.following.everything and self._gate_cadence.is_due(packet.at_mono_s)

    def _shrink(self, frame: DecodedFrame) -> NDArray[np.uint8]:
        return self._shrinker.shrink(frame.luma(), WIDTH, HEIGHT)

    def _looked_into(self, key: Packet) -> list[Look]:
        """Return looks at what lies between a key frame that showed a change and the one before it."""
        if not self.following.changed(key.at_mono_s) or self.following.active:
            return []
        group = self.ring.group_before(key)
        if not group or not self.following.may_decode_group():
            return []
        began_s = group[0].at_mono_s
        cadence = Cadence(self._step_s(group[0], key), began_s)
        return [
            self._look(packet, DecodedFrame(video), LookReason.FOLLOW)
            for packet, video in self._group(group)
            if began_s < packet.at_mono_s < key.at_mono_s and cadence.is_due(packet.at_mono_s)
        ]

    def _group(self, group: Sequence[Packet]) -> Iterator[tuple[Packet, av.VideoFrame]]:
        """Decode a group from memory, on the CPU: a GPU's decoder takes longer to be made than a group to be decoded."""
        follower = Follower()
        try:
            for packet in group:
                found = follower.decode(packet)
                self.decoded += len(found)
                yield from found
            yield from follower.drain()
        except DamagedError:
            return  # what came before it stands; the stream's own trouble shows at the key frames

    def _followed_look(self, packet: Packet, frame: DecodedFrame) -> list[Look]:
        if not self.following.followed or not self._due:
            return []
        return [self._look(packet, frame, LookReason.FOLLOW)]

    def _look(self, packet: Packet, frame: DecodedFrame, why: LookReason) -> Look:
        return Look(
            camera_id=self.camera.camera_id,
            why=why,
            at_mono_s=packet.at_mono_s,
            captured_at=packet.captured_at,
            gate=self._change,
            frame=frame,
            at_home=self._at_home,
        )

    def _check_stranded(self) -> None:
        now_mono_s = self._clock.mono_s()
        if self.following.stranded_s() < _STRANDED_S or now_mono_s - self._reopened_mono_s < _REOPEN_EVERY_S:
            return
        self._reopened_mono_s = now_mono_s
        raise StreamEndedError("no key frame comes to begin with")

    def _note(self, note: Note, *, on: bool) -> None:
        if self._noted.get(note, False) is not on:
            self._noted[note] = on
            self.sight.note(note, on)
