# SPDX-License-Identifier: AGPL-3.0-or-later
"""A clip decoded, changed and coded anew: a variant in memory, to be shown in a loop, or one coded while it is shown."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import islice, repeat
from math import ceil
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation

from gridwatch.simulator.coding import Coder, Coding, Keys, Picture, coded
from gridwatch.simulator.errors import FeedError
from gridwatch.simulator.rtsp import h264
from gridwatch.simulator.rtsp.media import VideoMedia
from gridwatch.simulator.tracks import CodedPicture, CodedTrack, MemoryTrack
from gridwatch.simulator.treatments import Planes
from gridwatch.simulator.variants import Plan

LOOP_S = 12.0
"""At most so much of a clip is coded for a variant that is switched on: a fault has to be there soon."""

STILL_S = 4.0
_NEARLY_S = 0.002
_USUAL_GOP_S = 2.0
_LEAST_BIT_RATE = 64_000


class Clip(NamedTuple):
    """What a variant is made of. `track` is the clip as it is."""

    path: Path
    track: CodedTrack

    @property
    def coding(self) -> Coding:
        """How the clip is coded, as far as it can be said; sizes are rounded down to even ones."""
        media, track = self.track.media, self.track
        size = track.size_bytes if isinstance(track, MemoryTrack) else self.path.stat().st_size
        return Coding(
            width=media.width & ~1,
            height=media.height & ~1,
            fps=Fraction(media.fps).limit_denominator(1001),
            bit_rate=max(_LEAST_BIT_RATE, round(8 * size / track.duration_s)),
            codec=media.codec,
        )


def make_track(
    clip: Clip, plan: Plan, position_s: float, length_s: float, stopped: Callable[[], bool]
) -> MemoryTrack:
    """Code a variant of the first `length_s` of a clip, or of its one picture at `position_s` where it is still.

    Raises:
        FeedError: the clip or a coder broke, or `stopped` became true.
    """
    coder = Coder(plan.coding)
    fps, gop_s = plan.coding.fps, plan.gop_s
    if plan.is_still:
        gop_s = gop_s or _gop_s(clip.track)
        pictures, length_s = _still(clip, plan, position_s), STILL_S
    else:
        pictures, length_s = _over_and_over(clip, plan, 0.0), min(length_s, clip.track.duration_s)
    gop_frames = None if gop_s is None else max(1, round(fps * gop_s))
    whole = gop_frames or (plan.coding.gop_frames if plan.coding.keys is Keys.OPEN else 1)
    wanted = whole * max(1, ceil(round(fps * length_s) / whole))
    prepared = _prepared(islice(pictures, wanted), plan, gop_frames, stopped)
    result = tuple(coded(coder, prepared))
    if not result:
        raise FeedError("there is nothing to be coded")
    return MemoryTrack(coder.media, result, float(len(result) / fps))


class LiveTrack:
    """A variant that is coded while it is shown, from the first picture on: it has no end and cannot be shared."""

    is_endless = True
    duration_s = float("inf")

    def __init__(self, clip: Clip, plan: Plan) -> None:
        self._clip, self._plan = clip, plan
        self._coder = Coder(plan.coding)
        self.media: VideoMedia = self._coder.media

    def pictures(self, position_s: float) -> Iterator[CodedPicture]:
        """Yield the scene from `position_s` on; after the clip's end it begins again without a key picture."""
        source = _over_and_over(self._clip, self._plan, position_s % self._clip.track.duration_s)
        for picture in _prepared(source, self._plan, None, bool):
            for made in self._coder.code(picture):
                yield self._stripped(made) if self._plan.drops_recovery_points else made

    def close(self) -> None:
        """Nothing is held that Python does not let go of."""

    def _stripped(self, picture: CodedPicture) -> CodedPicture:
        if any(h264.nal_type(nal) == h264.NAL_IDR for nal in picture.nals):
            return picture
        nals = tuple(nal for nal in picture.nals if h264.nal_type(nal) != h264.NAL_SEI)
        return replace(picture, nals=nals, is_key=False)


class _Shown(NamedTuple):
    frame: VideoFrame
    at_s: float
    is_key: bool


def _decoded(path: Path, coding: Coding, start_s: float) -> Iterator[_Shown]:
    """Yield a clip's pictures from `start_s` on in the order in which they are shown, scaled; times from its first one."""
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.thread_count = 1
            time_base = stream.time_base or Fraction(1, 90_000)
            first = stream.start_time or 0
            container.seek(first + int(start_s / time_base), stream=stream, backward=True)
            for frame in container.decode(stream):
                at_s = float(((frame.pts or 0) - first) * time_base)
                if at_s >= start_s - _NEARLY_S:
                    yield _Shown(_scaled(frame, coding), at_s - start_s, frame.key_frame)
    except (av.FFmpegError, OSError) as exc:
        raise FeedError(f"{path.name}: {exc}") from exc


def _scaled(frame: VideoFrame, coding: Coding) -> VideoFrame:
    return frame.reformat(coding.width, coding.height, "yuv420p", interpolation=Interpolation.AREA)


def _planes(frame: VideoFrame) -> Planes:
    return np.asarray(frame.to_ndarray(), np.uint8)


def _resampled(frames: Iterator[_Shown], fps: Fraction) -> Iterator[Picture]:
    """Yield the picture that is in sight at each `fps`-th of a second; a key asks for a key, also if it was passed over."""
    index, held, wants_key = 0, None, False
    for shown in frames:
        while held is not None and index / fps + _NEARLY_S < shown.at_s:
            yield Picture(_planes(held.frame), wants_key)
            index, wants_key = index + 1, False
        held, wants_key = shown, wants_key or shown.is_key
    if held is not None:
        yield Picture(_planes(held.frame), wants_key)


def clip_pictures(path: Path, coding: Coding, start_s: float = 0.0) -> Iterator[Picture]:
    """Yield a clip's pictures from `start_s` to its end, scaled and as many a second as `coding` says.

    Raises:
        FeedError: while iterating, the clip cannot be read or decoded.
    """
    return _resampled(_decoded(path, coding, start_s), coding.fps)


def _over_and_over(clip: Clip, plan: Plan, start_s: float) -> Iterator[Picture]:
    while True:
        yield from clip_pictures(clip.path, plan.coding, start_s)
        start_s = 0.0


def _still(clip: Clip, plan: Plan, position_s: float) -> Iterator[Picture]:
    frames = _decoded(clip.path, plan.coding, position_s)
    shown = next(frames, None) or next(_decoded(clip.path, plan.coding, 0.0), None)
    if shown is None:
        raise FeedError(f"{clip.path.name}: no picture can be decoded")
    return repeat(Picture(_planes(shown.frame), wants_key=False))


def _prepared(
    pictures: Iterator[Picture], plan: Plan, gop_frames: int | None, stopped: Callable[[], bool]
) -> Iterator[Picture]:
    for index, picture in enumerate(pictures):
        if stopped():
            raise FeedError("the variant is not needed any more")
        wants_key = picture.wants_key if gop_frames is None else index % gop_frames == 0
        yield Picture(plan.treatment(picture.planes), wants_key)


def _gop_s(track: CodedTrack) -> float:
    return track.gop_s if isinstance(track, MemoryTrack) else _USUAL_GOP_S
