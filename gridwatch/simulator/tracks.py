# SPDX-License-Identifier: AGPL-3.0-or-later
"""Coded video tracks: pictures of one clip as packets, in memory (shared by many cameras) or read from the file.

Nothing is decoded or encoded here. Sound and other streams of a file are left out.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Protocol, TypeAlias

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from gridwatch.core.errors import InputError
from gridwatch.simulator.errors import FeedError, WireError
from gridwatch.simulator.rtsp import h264, h265
from gridwatch.simulator.rtsp.media import Codec, StreamHeader, VideoMedia

VideoPacket: TypeAlias = "Packet[VideoStream]"

MEMORY_BYTES = 256 * 1024 * 1024
"""A clip file of at most this size is read into memory once; a larger one is read anew by each camera."""

_SHORTEST_S = 0.04
_HEADERS: dict[Codec, Callable[[bytes], StreamHeader]] = {
    "h264": h264.parse_header,
    "hevc": h265.parse_header,
}


@dataclass(frozen=True, slots=True)
class CodedPicture:
    """One packet.

    Attributes:
        nals: its NAL units, without start codes.
        at_s: when it is sent, seconds after the track's first packet.
        pts_s: when it is shown, on the same scale: at least `at_s` where nothing is reordered.
    """

    nals: tuple[bytes, ...]
    at_s: float
    pts_s: float
    is_key: bool


class CodedTrack(Protocol):
    """A clip's pictures in the order in which they are sent. Used by one thread at a time unless it says otherwise."""

    @property
    def media(self) -> VideoMedia:
        """What a client must know of it."""
        ...

    @property
    def is_endless(self) -> bool:
        """Whether it has no key picture but the first one and never ends."""
        ...

    @property
    def duration_s(self) -> float:
        """Seconds until it starts again: as far as known before its end was reached."""
        ...

    def pictures(self, position_s: float) -> Iterator[CodedPicture]:
        """Yield pictures from the last key at or before `position_s` on (the first one where there is none), until the end.

        Raises:
            FeedError: while iterating, the file or the coder broke.
        """
        ...

    def close(self) -> None:
        """Let go of files and coders."""
        ...


@dataclass(frozen=True, slots=True)
class MemoryTrack:
    """A track in memory; any number of threads may read it. At least one of `pictures_in_order` is a key picture."""

    media: VideoMedia
    pictures_in_order: Sequence[CodedPicture]
    duration_s: float
    size_bytes: int = field(init=False)
    is_endless: bool = field(default=False, init=False)
    _keys: tuple[int, ...] = field(init=False)
    _key_times_s: tuple[float, ...] = field(init=False)

    def __post_init__(self) -> None:
        pictures = self.pictures_in_order
        keys = tuple(index for index, picture in enumerate(pictures) if picture.is_key)
        object.__setattr__(self, "_keys", keys)
        object.__setattr__(self, "_key_times_s", tuple(pictures[index].at_s for index in keys))
        size = sum(len(nal) for picture in pictures for nal in picture.nals)
        object.__setattr__(self, "size_bytes", size)

    @property
    def gop_s(self) -> float:
        """Seconds from key to key, on average."""
        return self.duration_s / len(self._keys)

    def pictures(self, position_s: float) -> Iterator[CodedPicture]:
        """Yield from the last key at or before `position_s`; see `CodedTrack.pictures`."""
        which = bisect_right(self._key_times_s, position_s + 1e-6) - 1
        start = self._keys[max(0, which)]
        pictures = self.pictures_in_order
        return (pictures[index] for index in range(start, len(pictures)))

    def close(self) -> None:
        """Keep it: others may be reading."""


class FileTrack:
    """A track that is read from its file while it is shown."""

    is_endless = False

    def __init__(self, path: Path) -> None:
        self._path = path
        self._container, self._stream, self._header, self.media = _open(path)
        self.duration_s = _duration_s(self._container, self._stream)
        try:
            self._first_dts_s = _first_dts_s(self._container, self._stream, path)
        except BaseException:
            self._container.close()
            raise

    def pictures(self, position_s: float) -> Iterator[CodedPicture]:
        """Seek and read; see `CodedTrack.pictures`. Only the latest iterator may be used."""
        stream, length_size, first_s = self._stream, self._header.length_size, self._first_dts_s
        end_s = 0.0
        try:
            target = int((position_s + first_s) / float(stream.time_base or 1))
            self._container.seek(target, stream=stream, backward=True)
            for packet in _packets(self._container, stream):
                picture = _picture(packet, length_size, first_s)
                end_s = picture.at_s + _seconds(packet.duration, packet.time_base)
                yield picture
        except (av.FFmpegError, WireError) as exc:
            raise FeedError(f"{self._path.name}: {exc}") from exc
        self.duration_s = end_s or self.duration_s

    def close(self) -> None:
        """Close the file."""
        self._container.close()


def open_track(path: Path, memory_bytes: int = MEMORY_BYTES) -> MemoryTrack | FileTrack:
    """Read a clip into memory, or open it where its file is larger than `memory_bytes`.

    Raises:
        InputError: there is no such file, no H.264 or H.265 in it, no key picture, or it is damaged.
    """
    track = FileTrack(path)
    if path.stat().st_size > memory_bytes:
        return track
    try:
        pictures = tuple(track.pictures(0.0))
        if not any(picture.is_key for picture in pictures):
            raise InputError("this clip has no key picture to begin with", file=path)
        return MemoryTrack(track.media, pictures, track.duration_s)
    except FeedError as exc:
        raise InputError(f"this clip is damaged: {exc}", file=path) from exc
    finally:
        track.close()


def _open(path: Path) -> tuple[InputContainer, VideoStream, StreamHeader, VideoMedia]:
    if not path.is_file():
        raise InputError("there is no such clip", file=path)
    try:
        container = av.open(str(path))
    except (av.FFmpegError, OSError) as exc:
        raise InputError(
            "this clip cannot be read; give a file with H.264 or H.265 video, for example MP4", file=path
        ) from exc
    try:
        return (container, *_described(container, path))
    except BaseException:
        container.close()
        raise


def _described(container: InputContainer, path: Path) -> tuple[VideoStream, StreamHeader, VideoMedia]:
    stream = next(iter(container.streams.video), None)
    name = None if stream is None else stream.codec_context.name
    codec: Codec | None = "h264" if name == "h264" else "hevc" if name == "hevc" else None
    if stream is None or codec is None:
        found = "no video" if name is None else f"{name} video"
        problem = f"a clip must hold H.264 or H.265 video, found {found}; convert it to H.264"
        raise InputError(problem, file=path)
    try:
        header = _HEADERS[codec](stream.codec_context.extradata or b"")
    except WireError as exc:
        raise InputError(f"its header cannot be used: {exc}", file=path) from exc
    fps = float(stream.average_rate or 25)
    return stream, header, VideoMedia(header.parameter_sets, stream.width, stream.height, fps, codec)


def _first_dts_s(container: InputContainer, stream: VideoStream, path: Path) -> float:
    try:
        first = next(_packets(container, stream), None)
    except av.FFmpegError:
        first = None
    if first is None:
        raise InputError("no picture could be read from this clip", file=path)
    return _seconds(first.dts, first.time_base)


def _picture(packet: VideoPacket, length_size: int, first_dts_s: float) -> CodedPicture:
    dts_s = _seconds(packet.dts, packet.time_base)
    pts_s = dts_s if packet.pts is None else _seconds(packet.pts, packet.time_base)
    nals = h264.split_nals(bytes(packet), length_size)
    return CodedPicture(nals, dts_s - first_dts_s, pts_s - first_dts_s, packet.is_keyframe)


def _packets(container: InputContainer, stream: VideoStream) -> Iterator[VideoPacket]:
    return (packet for packet in container.demux(stream) if packet.size and packet.dts is not None)


def _seconds(ticks: int | None, time_base: Fraction | None) -> float:
    return float((ticks or 0) * (time_base or 0))


def _duration_s(container: InputContainer, stream: VideoStream) -> float:
    """Return the length as the container tells it, at least one picture's; the true one is known at the end."""
    if stream.duration:
        return max(_seconds(stream.duration, stream.time_base), _SHORTEST_S)
    return max((container.duration or 0) / av.time_base, _SHORTEST_S)
