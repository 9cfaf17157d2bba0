# SPDX-License-Identifier: AGPL-3.0-or-later
"""A clip as a camera that never ends: its H.264 packets unchanged, in a loop, at the pace of their times.

Nothing is decoded or encoded. Sound and other streams are left out.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import TypeAlias

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from gridwatch.core.errors import InputError
from gridwatch.simulator.errors import FeedError, WireError
from gridwatch.simulator.rtsp.h264 import AccessUnit, StreamHeader, parse_header, split_nals
from gridwatch.simulator.rtsp.sdp import VideoMedia

VideoPacket: TypeAlias = "Packet[VideoStream]"

SEAM_S = 10.0
"""How far pts jumps forward where the clip starts again."""

_BEHIND_S = 2.0


@dataclass(slots=True)
class _Open:
    """A clip being read. Times in seconds; `first_dts_s` belongs to the clip's first packet."""

    container: InputContainer
    stream: VideoStream
    header: StreamHeader
    packets: Iterator[VideoPacket]
    first_dts_s: float
    duration_s: float
    start_due_s: float = 0.0
    start_pts_s: float = 0.0
    end_s: float = 0.0


class ClipFeed:
    """Serves a clip, MP4 or another container that FFmpeg reads, with H.264 inside.

    Args:
        path: the clip.
        phase_s: how far into the clip the camera is at second 0 of the timeline; cameras with different phases
            do not send their key frames at the same moments.
    """

    ahead_s = 2.0
    refill_s = 1.0

    def __init__(self, path: Path, phase_s: float = 0.0) -> None:
        self.path, self.phase_s = path, phase_s
        self.skipped = 0
        self._open: _Open | None = None
        self._wants_key = self._fresh = True

    def open(self, start_s: float) -> VideoMedia:
        """Open the clip and go to the key frame that is due at `start_s` or next before.

        Raises:
            InputError: there is no such file, no H.264 in it, or no key frame.
        """
        self.close()
        opened = _open_clip(self.path)
        self._open, self._wants_key, self._fresh = opened, True, True
        loops, position_s = divmod(start_s + self.phase_s, opened.duration_s)
        opened.start_due_s = loops * opened.duration_s - self.phase_s
        opened.start_pts_s = loops * (opened.duration_s + SEAM_S)
        opened.packets = self._from(opened, position_s)
        stream = opened.stream
        fps = float(stream.average_rate or 25)
        return VideoMedia(opened.header.parameter_sets, stream.width, stream.height, fps)

    def next_unit(self, now_s: float) -> AccessUnit:
        """Return the next packet as an access unit; see `Feed.next_unit`."""
        if self._open is None:
            raise FeedError("the clip is not open")
        while True:
            unit = self._read(self._open)
            if unit.due_s < now_s - _BEHIND_S:
                self._wants_key = True
            if self._wants_key and not (unit.is_key and unit.due_s >= now_s - _BEHIND_S):
                self.skipped += not self._fresh  # what lies between a seek and its target was never owed
                continue
            self._wants_key = self._fresh = False
            return unit

    def close(self) -> None:
        """Close the file."""
        if self._open is not None:
            self._open.container.close()
            self._open = None

    def _read(self, opened: _Open) -> AccessUnit:
        try:
            packet = next(opened.packets, None) or self._again(opened)
            nals = split_nals(bytes(packet), opened.header.length_size)
        except (av.FFmpegError, WireError) as exc:
            raise FeedError(f"{self.path.name}: {exc}") from exc
        at_s = _dts_s(packet) - opened.first_dts_s
        opened.end_s = at_s + _seconds(packet.duration, packet.time_base)
        pts_s = _seconds(packet.dts if packet.pts is None else packet.pts, packet.time_base)
        return AccessUnit(
            nals,
            opened.start_due_s + at_s,
            opened.start_pts_s + pts_s - opened.first_dts_s,
            packet.is_keyframe,
        )

    def _again(self, opened: _Open) -> VideoPacket:
        opened.start_due_s += opened.end_s
        opened.start_pts_s += opened.end_s + SEAM_S
        opened.packets = self._from(opened, 0.0)
        packet = next(opened.packets, None)
        if packet is None:
            raise FeedError(f"{self.path.name}: nothing could be read after the seam")
        return packet

    def _from(self, opened: _Open, position_s: float) -> Iterator[VideoPacket]:
        target = int((position_s + opened.first_dts_s) / float(opened.stream.time_base or 1))
        opened.container.seek(target, stream=opened.stream, backward=True)
        return _packets(opened.container, opened.stream)


def _open_clip(path: Path) -> _Open:
    if not path.is_file():
        raise InputError("there is no such clip", file=path)
    try:
        container = av.open(str(path))
    except (av.FFmpegError, OSError) as exc:
        raise InputError(
            "this clip cannot be read; give a file with H.264 video, for example MP4", file=path
        ) from exc
    try:
        return _opened(container, path)
    except BaseException:
        container.close()
        raise


def _opened(container: InputContainer, path: Path) -> _Open:
    stream = next(iter(container.streams.video), None)
    if stream is None or stream.codec_context.name != "h264":
        found = "no video" if stream is None else f"{stream.codec_context.name} video"
        raise InputError(f"a clip must hold H.264 video, found {found}; convert it to H.264", file=path)
    try:
        header = parse_header(stream.codec_context.extradata or b"")
    except WireError as exc:
        raise InputError(f"its H.264 header cannot be used: {exc}", file=path) from exc
    with suppress(av.FFmpegError):
        packets = _packets(container, stream)
        first = next(packets, None)
        if first is not None:
            packets = chain([first], packets)
            return _Open(container, stream, header, packets, _dts_s(first), _duration_s(container, stream))
    raise InputError("no picture could be read from this clip", file=path)


def _packets(container: InputContainer, stream: VideoStream) -> Iterator[VideoPacket]:
    return (packet for packet in container.demux(stream) if packet.size and packet.dts is not None)


def _dts_s(packet: VideoPacket) -> float:
    return _seconds(packet.dts, packet.time_base)


def _seconds(ticks: int | None, time_base: Fraction | None) -> float:
    return float((ticks or 0) * (time_base or 0))


def _duration_s(container: InputContainer, stream: VideoStream) -> float:
    """Return the length as the container tells it, at least one picture's; the true one is known at the end."""
    if stream.duration:
        return max(_seconds(stream.duration, stream.time_base), 0.04)
    return max((container.duration or 0) / av.time_base, 0.04)
