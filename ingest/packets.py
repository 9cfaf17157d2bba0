# SPDX-License-Identifier: AGPL-3.0-or-later
"""Compressed units as they come from a stream, and the port that brings them. Nothing is decoded here."""

from collections.abc import Generator
from dataclasses import dataclass, replace
from datetime import datetime
from fractions import Fraction
from types import TracebackType
from typing import Protocol, Self, cast

import av
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from ingest import annexb
from ingest.errors import DamagedError, UnsupportedCodecError

_SEQUENCE_SET = {"h264": 7, "hevc": 33}


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """What decoding and remuxing need to know of a stream.

    Attributes:
        codec: "h264" or "hevc".
        width, height: pixels, as announced; a stream may change its size later in its own parameter sets.
        extradata: the parameter sets beside the stream: Annex B, avcC or hvcC; empty where they are in band only.
        time_base: the unit of `Packet.pts`, seconds.
        fps: pictures per second as announced; None where the stream does not say.
    """

    codec: str
    width: int
    height: int
    extradata: bytes
    time_base: Fraction
    fps: float | None


@dataclass(frozen=True, slots=True, eq=False)
class Packet:
    """One compressed picture.

    Attributes:
        payload: a copy of its bytes, which belongs to nobody else: FFmpeg frees a stream when its container closes,
            and packets in a ring live longer than that.
        pts, dts: presentation and decoding time in `info.time_base`; None where the stream gives none.
        pts_s: `pts` in seconds.
        is_key: whether it can be decoded without others.
        at_mono_s: monotonic arrival mapped through pts, seconds.
        captured_at: the same moment in wall time, UTC; for records, never for decisions.
        session: which opening of the camera it came from, rising; pictures of two sessions do not belong together.
            A stream that changes its parameter sets begins a new one.
        camera_at: the moment of capture by the camera's own clock, UTC, where this packet came with its report of it
            (about once a second); None otherwise.
        camera_ahead_s: the camera's clock minus ours by its last reports, seconds; None while it made none.
    """

    camera_id: str
    payload: bytes
    pts: int | None
    dts: int | None
    is_key: bool
    at_mono_s: float
    captured_at: datetime
    session: int
    info: StreamInfo
    camera_at: datetime | None = None
    camera_ahead_s: float | None = None

    @property
    def size(self) -> int:
        """Bytes of payload."""
        return len(self.payload)

    @property
    def pts_s(self) -> float | None:
        """Presentation time in seconds, as the stream says; None where it does not."""
        return None if self.pts is None else float(self.pts * self.info.time_base)


class PacketSource(Protocol):
    """One camera's packets. Entering opens it, leaving closes it, and it may be opened again.

    One thread uses it, from opening to closing: FFmpeg's demuxer must not be closed from another.
    """

    def __enter__(self) -> Self:
        """Open it.

        Raises:
            SourceError: it cannot be had now.
        """
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close it; never raises."""
        ...

    def packets(self) -> Generator[Packet, None, None]:
        """Yield packets as they come, in decoding order.

        A clip's end ends the iterator. A camera's stream has no end of its own: it raises.

        Raises:
            SourceError: the stream broke off.
        """
        ...


def stream_info(stream: VideoStream) -> StreamInfo:
    """Describe FFmpeg's stream.

    Raises:
        UnsupportedCodecError: it is neither H.264 nor H.265.
    """
    context = stream.codec_context
    codec = "unknown" if context is None else context.codec.canonical_name
    if codec not in annexb.CODECS:
        raise UnsupportedCodecError(f"{codec} is not decoded here, only H.264 and H.265")
    rate = stream.average_rate or stream.guessed_rate
    return StreamInfo(
        codec=codec,
        width=context.width,
        height=context.height,
        extradata=context.extradata or b"",
        time_base=stream.time_base or Fraction(1, 90_000),
        fps=float(rate) if rate else None,
    )


def sequence_sets(extradata: bytes, codec: str) -> tuple[bytes, ...]:
    """Return the sequence parameter sets in a decoder configuration; empty where it has none or is cut off."""
    try:
        units = annexb.parameter_sets(extradata, codec)
    except DamagedError:
        return ()
    return tuple(unit for unit in units if annexb.nal_type(unit, codec) == _SEQUENCE_SET[codec])


def described_anew(info: StreamInfo, key: bytes, known: tuple[bytes, ...]) -> StreamInfo | None:
    """Return what the stream is from this key frame (Annex B) on, or None where that is what it was.

    `known`: the sequence parameter sets so far. A key frame without any says nothing new.
    """
    sets = annexb.sets_in_band(key, info.codec)
    found = tuple(unit for unit in sets if annexb.nal_type(unit, info.codec) == _SEQUENCE_SET[info.codec])
    if not found or found == known:
        return None
    read = read_sets(key, info.codec)
    if read is None:
        return None
    extradata = b"".join(annexb.START_CODE + unit for unit in sets)
    width, height, _ = read
    return replace(info, width=width or info.width, height=height or info.height, extradata=extradata)


def read_sets(stream: bytes, codec: str) -> tuple[int, int, float | None] | None:
    """Return width, height (pixels; 0: not said) and pictures per second by the parameter sets in a byte stream.

    None where they cannot be read.
    """
    reader = cast(VideoCodecContext, av.CodecContext.create(codec, "r"))
    try:
        reader.parse(stream)
        reader.parse(b"")
    except av.FFmpegError:
        return None
    return reader.width, reader.height, float(reader.framerate or 0) or None


def first_video(container: av.container.InputContainer) -> VideoStream:
    """Return the first video stream.

    Raises:
        UnsupportedCodecError: there is none.
    """
    if not container.streams.video:
        raise UnsupportedCodecError("there is no video in the stream")
    return container.streams.video[0]
