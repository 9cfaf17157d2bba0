# SPDX-License-Identifier: AGPL-3.0-or-later
"""Decodes lone key frames. One object serves every camera of a worker thread; it keeps nothing between two of them."""

from typing import Any, cast

import av
import structlog
from av.codec.hwaccel import HWAccel
from av.video.codeccontext import VideoCodecContext

from ingest import annexb
from ingest.errors import DamagedError
from ingest.frame import DecodedFrame, Shrinker
from ingest.packets import Packet

_TRIES = 2  # one may fail because the device is full just then
_CAMERAS_IN_A_ROW = 3
_REMEMBERED_AT_MOST = 4096
# `fast` leaves out what only broken streams need. What smooths the blocks' edges is a tenth to a sixth of a key frame's
# time, and of a picture that is shrunk to half its width or less before anybody looks nothing of it is left; what refers
# to other pictures needs it (0.4 of 255 luma levels in the mean).
_LONE = {"flags2": "+fast"}
_LONE_LARGE = _LONE | {"skip_loop_filter": "all"}
_LARGE_PX = 1280
# What PyAV raises where a device, or this stream on it, does not work: FFmpeg's errors, and its own of three kinds.
DECODING_FAILS = (av.FFmpegError, NotImplementedError, RuntimeError, ValueError)


class Refusals:
    """Which cameras' streams a GPU refuses though they are whole. Pure.

    A profile that it does not know says nothing of other cameras, so each stream is judged alone, until its session ends.
    """

    def __init__(self) -> None:
        self._of: dict[str, tuple[int, int]] = {}  # by camera: session, and refusals in a row
        self._in_a_row: set[str] = set()  # cameras that were refused since anything was decoded

    def stands(self, packet: Packet) -> bool:
        """Tell whether the packet's stream was refused so often that the GPU is not to be asked again."""
        known = self._of.get(packet.camera_id)
        return known is not None and known[0] == packet.session and known[1] >= _TRIES

    def add(self, packet: Packet) -> bool:
        """Note a refusal; return whether it is the GPU's own trouble: several cameras in a row were refused."""
        session, times = self._of.pop(packet.camera_id, (packet.session, 0))
        self._of[packet.camera_id] = packet.session, times + 1 if session == packet.session else 1
        if len(self._of) > _REMEMBERED_AT_MOST:
            del self._of[next(iter(self._of))]
        self._in_a_row.add(packet.camera_id)
        return len(self._in_a_row) >= _CAMERAS_IN_A_ROW

    def decoded(self, packet: Packet) -> None:
        """Note that the GPU decoded it."""
        if self._of:
            self._of.pop(packet.camera_id, None)
            self._in_a_row.clear()


class KeyDecoder:
    """Key frames of any size and camera, H.264 and H.265, one after another. Not for several threads at once.

    A decoder per camera would hold ten times the memory (docs: measured at 150 cameras), so one is shared: each key
    frame comes with its own parameter sets, is drained (with B-frames it would come out two keys late) and forgotten.

    Args:
        device: "cpu" or "cuda". A camera of which the GPU refuses two key frames that the CPU decodes is left to the CPU
            until its stream begins anew. Where the GPU does not work, or refuses three cameras and decodes none between,
            the CPU decodes everything from then on, and the log says so once.

    Attributes:
        device: what decodes now.
        shrinker: makes the pictures' luma small, for whoever asked for them.
    """

    def __init__(self, device: str = "cpu") -> None:
        self.device = device
        self.shrinker = Shrinker()
        self._contexts: dict[tuple[str, str, bool], VideoCodecContext] = {}
        self._refusals = Refusals()

    def device_for(self, packet: Packet) -> str:
        """Return what decodes the packet's stream: not the GPU, where it refused that."""
        return "cpu" if self.device == "cpu" or self._refusals.stands(packet) else self.device

    def decode(self, packet: Packet) -> DecodedFrame:
        """Return the picture.

        Raises:
            DamagedError: it cannot be decoded, or only with parts made up by the decoder.
        """
        codec = packet.info.codec
        data = annexb.decodable_alone(packet.payload, packet.info.extradata, codec)
        unit = av.Packet(len(data))  # FFmpeg's own buffer: its readers look past the end, into padding
        unit.update(data)
        device, large = self.device_for(packet), packet.info.width >= _LARGE_PX
        frames, failure = self._drain(device, codec, unit, large=large)
        if failure and device == "cuda":
            frames, failure = self._on_cpu(packet, unit, failure, large=large)
        elif device == "cuda" and frames:
            self._refusals.decoded(packet)
        if not frames:
            raise DamagedError(failure or "no picture came out of it")
        if frames[0].is_corrupt:
            raise DamagedError("a key frame is incomplete")
        return DecodedFrame(frames[0])

    def _on_cpu(
        self, packet: Packet, unit: "av.Packet[Any]", gpu_failure: str, *, large: bool
    ) -> tuple[list[av.VideoFrame], str]:
        frames, failure = self._drain("cpu", packet.info.codec, unit, large=large)
        if frames and not frames[0].is_corrupt and self._refusals.add(packet):
            self._leave_gpu(gpu_failure)
        return frames, failure

    def _drain(
        self, device: str, codec: str, unit: "av.Packet[Any]", *, large: bool
    ) -> tuple[list[av.VideoFrame], str]:
        """Return the pictures, and what went wrong ("" if nothing did)."""
        context = None
        try:
            context = self._context(device, codec, large=large)
            frames = [*context.decode(unit), *context.decode(None)]
        except DECODING_FAILS as error:
            self._contexts.pop((device, codec, large), None)  # what state it is in now is unknown
            return [], f"a key frame cannot be decoded ({reason_of(error)})"
        context.flush_buffers()
        return frames, ""

    def _context(self, device: str, codec: str, *, large: bool) -> VideoCodecContext:
        context = self._contexts.get((device, codec, large))
        if context is not None:
            return context
        if device == "cuda":
            try:
                context = _open_cuda(codec)
            except DECODING_FAILS as error:
                self._leave_gpu(reason_of(error))
        if context is None:
            context, device = open_context(codec), "cpu"
            context.options = _LONE_LARGE if large else _LONE
        self._contexts[device, codec, large] = context
        return context

    def _leave_gpu(self, reason: str) -> None:
        if self.device != "cpu":
            self.device = "cpu"
            structlog.get_logger().warning("decoding_on_cpu", asked="cuda", reason=reason)


def open_context(codec: str, device: str = "cpu") -> VideoCodecContext:
    """Return a decoder for a codec: on the GPU where `device` is "cuda" and one can be opened there, else on one CPU core."""
    if device == "cuda":
        try:
            return _open_cuda(codec)
        except DECODING_FAILS:
            pass  # the shared decoders say so, once
    context = cast(VideoCodecContext, av.CodecContext.create(codec, "r"))
    context.thread_count = 1
    context.thread_type = "NONE"
    return context


def _open_cuda(codec: str) -> VideoCodecContext:
    # The device's primary context is one for all decoders of the process; one of its own costs each a second of CPU. FFmpeg
    # refuses it where an inference engine made it with other flags.
    try:
        return _open_with(codec, {"primary_ctx": "1"})
    except DECODING_FAILS:
        return _open_with(codec, {})


def _open_with(codec: str, options: dict[str, object]) -> VideoCodecContext:
    # Without a GPU this raises even where FFmpeg is allowed to fall back by itself, so it is not: the reason is wanted.
    accelerator = HWAccel("cuda", allow_software_fallback=False, options=options)
    return cast(VideoCodecContext, av.CodecContext.create(codec, "r", hwaccel=accelerator))


def reason_of(error: Exception) -> str:
    """Return what a decoder says went wrong, in one phrase."""
    return str(error.strerror) if isinstance(error, av.FFmpegError) else str(error)
