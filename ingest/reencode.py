# SPDX-License-Identifier: AGPL-3.0-or-later
"""Takes a clip apart into few pictures a second, and makes pictures into a clip again: for what is changed before it leaves.

Knows nothing of what is changed in between, or why. Both ways are lazy: nobody holds a whole clip decoded.
"""

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext
from numpy.typing import NDArray

from ingest.errors import DamagedError
from ingest.frame import DecodedFrame

_TICKS = 1_000  # milliseconds: the times of few pictures a second
_CRF = "27"
_GROUP = 25  # pictures between key frames: five seconds at five a second
# The index stands in front only where room for it is kept before the pictures come, and a clip's number is bounded.
_INDEX_BYTES = 8_192 + 64 * 1_000

Picture = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """One picture of a clip and its time from the clip's beginning, seconds."""

    at_s: float
    frame: DecodedFrame


def pictures(clip: Path, fps: float, most: int) -> Iterator[Shown]:
    """Yield the pictures of a clip, at most `fps` a second. What the decoder made up (a damaged part) is left out.

    Raises:
        DamagedError: it cannot be read, has no picture, or has more than `most` of them.
    """
    failure, count, due_s = "the clip has no picture", 0, 0.0
    first_s: float | None = None
    try:
        with av.open(clip) as container:
            stream = container.streams.video[0]
            stream.thread_type = "NONE"
            for video in container.decode(stream):
                if video.time is None or video.is_corrupt:
                    continue
                first_s = video.time if first_s is None else first_s
                at_s = video.time - first_s
                if at_s + 1e-6 < due_s:
                    continue
                count, due_s = count + 1, at_s + 1 / fps
                if count > most:
                    break
                yield Shown(at_s, DecodedFrame(video))
    except (av.FFmpegError, OSError, IndexError) as error:
        count, failure = 0, f"the clip cannot be read ({type(error).__name__})"
    if count > most:
        failure = f"the clip has more than {most} pictures"
    if not 0 < count <= most:
        raise DamagedError(failure)


def encode_mp4(shown: Iterable[tuple[float, Picture]], fps: float) -> bytes:
    """Return pictures as an H.264 MP4 whose index stands in front.

    Args:
        shown: (seconds, picture) in rising order; the pictures (height, width, 3) uint8 BGR, all of one even size.
        fps: how many come in a second, for the header.

    Raises:
        DamagedError: there is no picture, or it cannot be encoded.
    """
    out, failure = io.BytesIO(), ""
    try:
        with av.open(out, "w", "mp4", options={"moov_size": str(_INDEX_BYTES)}) as container:
            _encode(container, shown, fps)
    except av.FFmpegError as error:
        failure = f"the clip cannot be encoded ({error.strerror})"
    if failure:
        raise DamagedError(failure)
    return out.getvalue()


def _encode(
    container: "av.container.OutputContainer", shown: Iterable[tuple[float, Picture]], fps: float
) -> None:
    stream, last_ms = None, -1
    for at_s, picture in shown:
        if stream is None:
            stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
            _prepare(stream.codec_context, picture)
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), "bgr24")
        last_ms = max(last_ms + 1, round(at_s * _TICKS))
        frame.pts, frame.time_base = last_ms, Fraction(1, _TICKS)
        container.mux(stream.encode(frame))
    if stream is None:
        raise DamagedError("a clip needs a picture")
    container.mux(stream.encode(None))


def _prepare(context: VideoCodecContext, picture: Picture) -> None:
    context.height, context.width = picture.shape[:2]
    context.pix_fmt = "yuv420p"
    context.time_base = Fraction(1, _TICKS)
    context.thread_count = 1
    context.gop_size, context.max_b_frames = _GROUP, 0
    context.options = {"preset": "veryfast", "crf": _CRF}
