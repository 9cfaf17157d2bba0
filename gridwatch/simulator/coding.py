# SPDX-License-Identifier: AGPL-3.0-or-later
"""Pictures → packets as a city camera codes them: H.264 or H.265, at a constant bit rate, one thread.

Not here: what is in the pictures (treatments.py, scenes/), when they are sent (clips.py).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple, cast

import av
import numpy as np
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType, VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from gridwatch.simulator.errors import FeedError
from gridwatch.simulator.rtsp import h264, h265
from gridwatch.simulator.rtsp.media import Codec, VideoMedia
from gridwatch.simulator.tracks import CodedPicture

_ENCODERS: dict[Codec, str] = {"h264": "libx264", "hevc": "libx265"}


class Keys(StrEnum):
    """How the stream lets a decoder begin.

    MARKED: an instantaneous refresh (IDR) at each picture that asks for one.
    OPEN: open groups of pictures: pictures shown before a key one may refer to the group before it.
    FIRST: the first picture only.
    INTRA_REFRESH: the first picture, then a column of intra blocks that wanders across the picture once a group.
    """

    MARKED = "marked"
    OPEN = "open"
    FIRST = "first"
    INTRA_REFRESH = "intra-refresh"


@dataclass(frozen=True, slots=True, kw_only=True)
class Coding:
    """How pictures are coded. Sizes in pixels, both even.

    Attributes:
        bit_rate: bits a second, held over one second.
        b_frames: pictures in a row that refer to later ones.
        x264: more parameters of the H.264 encoder, as "name=value:name=value"; H.265 takes none.
        gop_s: seconds from key to key where the coder places them (OPEN, INTRA_REFRESH).
    """

    width: int
    height: int
    fps: Fraction
    bit_rate: int
    codec: Codec = "h264"
    keys: Keys = Keys.MARKED
    gop_s: float = 2.0
    b_frames: int = 0
    preset: str = "ultrafast"
    x264: str = ""

    @property
    def gop_frames(self) -> int:
        """Pictures from key to key where the coder places them."""
        return max(1, round(self.gop_s * self.fps))


class Picture(NamedTuple):
    """A picture to be coded.

    Attributes:
        planes: (height * 3 / 2, width) uint8: I420, the luma plane above the two chroma planes.
        wants_key: code it as a key picture, where `Keys.MARKED`.
    """

    planes: NDArray[np.uint8]
    wants_key: bool


class Coder:
    """One encoder. Feed it pictures one `fps`-th of a second apart; what it gives back may come later.

    Raises:
        FeedError: the encoder does not start.
    """

    def __init__(self, coding: Coding) -> None:
        self.coding = coding
        self._context = _open(coding)
        parse = h264.parse_header if coding.codec == "h264" else h265.parse_header
        sets = parse(self._context.extradata or b"").parameter_sets
        self.media = VideoMedia(sets, coding.width, coding.height, float(coding.fps), coding.codec)
        self._index = 0
        self._first_dts: int | None = None

    def code(self, picture: Picture) -> list[CodedPicture]:
        """Code the next picture; return what is finished, in the order in which it is sent.

        Raises:
            FeedError: the encoder broke.
        """
        frame = _frame(picture, self._index, self.coding)
        self._index += 1
        return self._finished(frame)

    def end(self) -> list[CodedPicture]:
        """Return what was held back; nothing can be coded afterwards."""
        return self._finished(None)

    def _finished(self, frame: VideoFrame | None) -> list[CodedPicture]:
        try:
            return [self._coded(packet) for packet in self._context.encode(frame)]
        except av.FFmpegError as exc:
            raise FeedError(f"the encoder broke: {exc}") from exc

    def _coded(self, packet: "Packet[VideoStream]") -> CodedPicture:
        dts = packet.dts or 0
        if self._first_dts is None:
            self._first_dts = dts
        frame_s = 1 / self.coding.fps
        at_s = float((dts - self._first_dts) * frame_s)
        pts_s = float(((packet.pts or 0) - self._first_dts) * frame_s)
        return CodedPicture(h264.split_annex_b(bytes(packet)), at_s, pts_s, packet.is_keyframe)


def coded(coder: Coder, pictures: Iterable[Picture]) -> Iterator[CodedPicture]:
    """Yield all of `pictures`, coded."""
    for picture in pictures:
        yield from coder.code(picture)
    yield from coder.end()


def write_clip(path: Path, coding: Coding, pictures: Iterable[Picture]) -> None:
    """Code `pictures` into a file; its suffix names the container.

    Raises:
        FeedError: the encoder does not start or breaks, or the file cannot be written.
    """
    try:
        with av.open(str(path), "w") as container:
            stream = cast("VideoStream", container.add_stream(_ENCODERS[coding.codec], rate=coding.fps))
            _configure(stream.codec_context, coding)
            for index, picture in enumerate(pictures):
                container.mux(stream.encode(_frame(picture, index, coding)))
            container.mux(stream.encode(None))
    except (av.FFmpegError, OSError) as exc:
        raise FeedError(f"{path.name} cannot be written: {exc}") from exc


def _open(coding: Coding) -> VideoCodecContext:
    context = cast("VideoCodecContext", av.CodecContext.create(_ENCODERS[coding.codec], "w"))
    _configure(context, coding)
    context.flags |= av.codec.context.Flags.global_header
    try:
        context.open()
    except av.FFmpegError as exc:
        raise FeedError(f"the encoder does not start: {exc}") from exc
    return context


def _configure(context: VideoCodecContext, coding: Coding) -> None:
    context.width, context.height, context.pix_fmt = coding.width, coding.height, "yuv420p"
    context.framerate, context.time_base = coding.fps, 1 / coding.fps
    context.bit_rate = coding.bit_rate
    context.max_b_frames = coding.b_frames
    context.thread_count = 1
    context.options = {"preset": coding.preset, "forced-idr": "1"} | (
        _x264_options(coding) if coding.codec == "h264" else _x265_options(coding)
    )


def _frame(picture: Picture, index: int, coding: Coding) -> VideoFrame:
    frame = VideoFrame.from_ndarray(picture.planes, format="yuv420p")
    frame.pts, frame.time_base = index, 1 / coding.fps
    wants_key = index == 0 or (picture.wants_key and coding.keys is Keys.MARKED)
    frame.pict_type = PictureType.I if wants_key else PictureType.NONE
    return frame


def _x264_options(coding: Coding) -> dict[str, str]:
    kbit = max(1, coding.bit_rate // 1000)
    params = f"scenecut=0:vbv-maxrate={kbit}:vbv-bufsize={kbit}:bframes={coding.b_frames}"
    options = {} if coding.b_frames else {"tune": "zerolatency"}
    if coding.keys in {Keys.OPEN, Keys.INTRA_REFRESH}:
        params += f":keyint={coding.gop_frames}:min-keyint={coding.gop_frames}"
        params += ":open-gop=1" if coding.keys is Keys.OPEN else ":intra-refresh=1"
    else:
        params += ":keyint=infinite"
    return options | {"x264-params": f"{params}:{coding.x264}" if coding.x264 else params}


def _x265_options(coding: Coding) -> dict[str, str]:
    if coding.keys is Keys.INTRA_REFRESH:
        raise FeedError("intra-refresh is made in H.264 only")
    kbit = max(1, coding.bit_rate // 1000)
    params = f"log-level=none:scenecut=0:vbv-maxrate={kbit}:vbv-bufsize={kbit}:bframes={coding.b_frames}"
    params += ":frame-threads=1:pools=none"
    if coding.keys is Keys.OPEN:
        params += f":open-gop=1:keyint={coding.gop_frames}:min-keyint={coding.gop_frames}"
    else:
        params += ":open-gop=0:keyint=-1"
    return {"x265-params": params} | ({} if coding.b_frames else {"tune": "zerolatency"})
