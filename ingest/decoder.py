# SPDX-License-Identifier: AGPL-3.0-or-later
"""Decodes lone key frames. One object serves every camera of a worker thread; it keeps nothing between two of them."""

from typing import Any, cast

import av
from av.video.codeccontext import VideoCodecContext

from ingest import annexb
from ingest.errors import DamagedError
from ingest.frame import DecodedFrame
from ingest.packets import Packet


class KeyDecoder:
    """Key frames of any size and camera, H.264 and H.265, one after another. Not for several threads at once.

    A decoder per camera would hold ten times the memory (docs: measured at 150 cameras), so one is shared: each key
    frame comes with its own parameter sets, is drained (with B-frames it would come out two keys late) and forgotten.
    """

    def __init__(self) -> None:
        self._contexts: dict[str, VideoCodecContext] = {}

    def decode(self, packet: Packet) -> DecodedFrame:
        """Return the picture.

        Raises:
            DamagedError: it cannot be decoded, or only with parts made up by the decoder.
        """
        codec = packet.info.codec
        data = annexb.decodable_alone(packet.payload, packet.info.extradata, codec)
        unit = av.Packet(len(data))  # FFmpeg's own buffer: its readers look past the end, into padding
        unit.update(data)
        failure = "no picture came out of it"
        try:
            frames = self._drain(codec, unit)
        except av.FFmpegError as error:
            self._contexts.pop(codec, None)  # what state it is in now is unknown
            frames, failure = [], f"a key frame cannot be decoded ({error.strerror})"
        if not frames:
            raise DamagedError(failure)
        if frames[0].is_corrupt:
            raise DamagedError("a key frame is incomplete")
        return DecodedFrame(frames[0])

    def _drain(self, codec: str, unit: "av.Packet[Any]") -> list[av.VideoFrame]:
        context = self._contexts.get(codec)
        if context is None:
            context = self._contexts[codec] = _open(codec)
        try:
            return [*context.decode(unit), *context.decode(None)]
        finally:
            context.flush_buffers()


def _open(codec: str) -> VideoCodecContext:
    context = cast(VideoCodecContext, av.CodecContext.create(codec, "r"))
    context.thread_count = 1
    context.thread_type = "NONE"
    return context
