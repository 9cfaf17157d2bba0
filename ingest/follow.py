# SPDX-License-Identifier: AGPL-3.0-or-later
"""Decodes one camera's stream picture by picture. Not a tracker, and no judge of whether that is worth it."""

from collections import OrderedDict
from typing import Any

import av
from av.video.codeccontext import VideoCodecContext

from ingest import annexb
from ingest.decoder import DECODING_FAILS, open_context, reason_of
from ingest.errors import DamagedError
from ingest.packets import Packet

_REORDERED_AT_MOST = 64  # H.264 and H.265 allow 16 pictures


class Follower:
    """One camera's stream in a decoder of its own, from a key frame on. One thread at a time.

    Where a packet is missing, the decoder fails, or a picture is incomplete, it waits for the next key frame (or the next
    point from which the picture heals): pictures with parts made up by the decoder are not handed out.

    Args:
        device: "cpu" or "cuda"; what does not work there is decoded on the CPU. For a stream that is followed: a GPU's
            decoder takes up to a second of the CPU to be made, so a group from memory is decoded on the CPU.
    """

    def __init__(self, device: str = "cpu") -> None:
        self._device = device
        self._context: VideoCodecContext | None = None
        self._session: int | None = None
        self._codec = ""
        self._number = 0
        self._waiting: OrderedDict[int, Packet] = OrderedDict()

    def decode(self, packet: Packet) -> list[tuple[Packet, av.VideoFrame]]:
        """Return the pictures that are ready now, in the order in which they are shown, each with its packet.

        Raises:
            DamagedError: the packet cannot be decoded; nothing comes until the next key frame.
        """
        if packet.session != self._session or packet.info.codec != self._codec:
            self.restart()
        if self._context is None and not packet.is_key:
            return []
        try:
            data = _stream(packet)
        except DamagedError:
            self.restart()
            raise
        context = self._context or self._open(packet)
        unit = av.Packet(len(data))  # FFmpeg's own buffer: its readers look past the end, into padding
        unit.update(data)
        self._number += 1
        unit.pts = self._number  # the stream's own times may be missing or jump
        self._waiting[self._number] = packet
        while len(self._waiting) > _REORDERED_AT_MOST:
            self._waiting.popitem(last=False)
        return self._pictures(context, unit)

    def drain(self) -> list[tuple[Packet, av.VideoFrame]]:
        """Return the pictures that the decoder still holds back; it begins anew at the next key frame."""
        context = self._context
        found = [] if context is None else self._pictures(context, None)
        self.restart()
        return found

    def restart(self) -> None:
        """Forget what was decoded: a packet is missing, what follows cannot be decoded before the next key frame."""
        self._context = None
        self._waiting.clear()

    @property
    def lost(self) -> bool:
        """Whether it waits for a key frame."""
        return self._context is None

    def _open(self, packet: Packet) -> VideoCodecContext:
        self._session, self._codec = packet.session, packet.info.codec
        self._context = open_context(self._codec, self._device)
        return self._context

    def _pictures(
        self, context: VideoCodecContext, unit: "av.Packet[Any] | None"
    ) -> list[tuple[Packet, av.VideoFrame]]:
        frames: list[av.VideoFrame] = []
        reason = ""
        try:
            frames = context.decode(unit)
        except DECODING_FAILS as error:
            reason = f"a picture cannot be decoded ({reason_of(error)})"
            self._device = "cpu"  # from the next key frame on: a GPU that refuses one stream refuses its next picture, too
        found = []
        for frame in frames:
            packet = None if frame.pts is None else self._waiting.pop(frame.pts, None)
            if frame.is_corrupt:
                reason = "a picture is incomplete"
            elif packet is not None and not reason:
                found.append((packet, frame))
        if reason:
            self.restart()
            if not found:
                raise DamagedError(reason)
        return found


def _stream(packet: Packet) -> bytes:
    info = packet.info
    if packet.is_key:
        return annexb.decodable_alone(packet.payload, info.extradata, info.codec)
    return annexb.to_annexb(packet.payload, info.extradata, info.codec)


class Cadence:
    """Lets a picture through every so often, by the pictures' own times."""

    def __init__(self, step_s: float, after_mono_s: float = float("-inf")) -> None:
        self.step_s = step_s
        self._last_mono_s = after_mono_s

    def passed(self, at_mono_s: float) -> None:
        """Say that a picture of this time went through in any case."""
        self._last_mono_s = at_mono_s

    def since_s(self, at_mono_s: float) -> float:
        """Return the seconds since the last picture that went through; infinite where time began anew."""
        since = at_mono_s - self._last_mono_s
        return since if since >= 0.0 else float("inf")

    def is_due(self, at_mono_s: float, *, earlier_s: float = 0.0) -> bool:
        """Tell whether this picture goes through, `earlier_s` before its time at most; one that does counts at once."""
        # Half a picture of 25 a second is no lateness: else 0.5 s would become 0.52.
        if self.since_s(at_mono_s) < self.step_s - earlier_s - 0.02:
            return False
        self._last_mono_s = at_mono_s
        return True
