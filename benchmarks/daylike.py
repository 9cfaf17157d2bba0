# SPDX-License-Identifier: AGPL-3.0-or-later
"""A clip laid into hours in which nothing happens: its first picture, held with sensor noise, before and after it.

So a camera that sees something for 20 s of a long quiet time is measured without a file of that length being coded: the
quiet part is coded once and repeated. A coder needs some seconds to settle at its bit rate; each part begins after them, so
that no seam looks like an event. The file is an MPEG transport stream. What is in the first picture is in the quiet
time too: take clips whose events begin later, or in which there are none.
"""

import argparse
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import islice, repeat
from pathlib import Path

import av
from av.video.stream import VideoStream

from gridwatch.simulator.coding import Coder, Coding, Picture, coded
from gridwatch.simulator.recoding import Clip, clip_pictures
from gridwatch.simulator.rtsp.media import VideoMedia, with_parameter_sets
from gridwatch.simulator.tracks import CodedPicture, open_track
from gridwatch.simulator.treatments import Treatment, noisy, untouched

QUIET_LOOP_S = 20.0
GOP_S = 2.0
SETTLES_S = 6.0  # whole groups
NOISE_LEVELS = 1.5
_TICKS = 90_000


@dataclass(frozen=True, slots=True)
class DayLike:
    """What was written. Seconds are those of the file: what the clip shows at t is shown at `clip_at_s` + t."""

    path: Path
    clip_at_s: float
    clip_s: float
    length_s: float

    @property
    def idle_share(self) -> float:
        """The share of the time in which nothing happens."""
        return 1 - self.clip_s / self.length_s


def day_like(clip: Path, target: Path, idle_share: float = 0.95) -> DayLike:
    """Write `clip` into the middle of a quiet time, so that about `idle_share` of the file is quiet."""
    track = open_track(clip)
    try:
        coding = replace(Clip(clip, track).coding, codec="h264", preset="veryfast")
        clip_s = track.duration_s
    finally:
        track.close()
    loops = max(1, round(clip_s * idle_share / (1 - idle_share) / QUIET_LOOP_S / 2))
    first = next(clip_pictures(clip, coding))
    quiet = _coded(
        first, islice(repeat(first), round(QUIET_LOOP_S * coding.fps)), coding, noisy(NOISE_LEVELS)
    )
    event = _coded(first, clip_pictures(clip, coding), coding)
    count = _write(target, coding, [quiet] * loops + [event] + [quiet] * loops)
    before = loops * len(quiet.pictures)
    fps = coding.fps
    return DayLike(target, float(before / fps), float(len(event.pictures) / fps), float(count / fps))


@dataclass(frozen=True, slots=True)
class _Part:
    media: VideoMedia
    pictures: tuple[CodedPicture, ...]


def _coded(
    first: Picture, pictures: Iterable[Picture], coding: Coding, treat: Treatment = untouched
) -> _Part:
    """Code the pictures as they come after some seconds of `first`."""
    coder, settle = Coder(coding), noisy(NOISE_LEVELS)
    every = max(1, round(GOP_S * coding.fps))
    groups = math.ceil(SETTLES_S / GOP_S)

    def prepared() -> Iterator[Picture]:
        for index in range(groups * every):
            yield Picture(settle(first.planes), index % every == 0)
        for index, picture in enumerate(pictures):
            yield Picture(treat(picture.planes), index % every == 0)

    return _Part(coder.media, tuple(coded(coder, prepared()))[groups * every :])


def _write(target: Path, coding: Coding, parts: Sequence[_Part]) -> int:
    """Write the parts one after another; return how many pictures that are."""
    time_base, step, count = Fraction(1, _TICKS), round(_TICKS / coding.fps), 0
    with av.open(str(target), "w", format="mpegts") as container:
        stream = container.add_mux_stream(
            coding.codec, rate=coding.fps, width=coding.width, height=coding.height
        )
        stream.time_base = time_base
        for part in parts:
            for picture in part.pictures:
                container.mux(_packet(picture, part.media, count * step, stream))
                count += 1
    return count


def _packet(picture: CodedPicture, media: VideoMedia, ticks: int, stream: VideoStream) -> av.Packet:
    nals = picture.nals
    if picture.is_key:
        nals = with_parameter_sets(nals, media.parameter_sets, media.codec)
    packet = av.Packet(b"".join(b"\x00\x00\x00\x01" + nal for nal in nals))
    packet.stream, packet.time_base = stream, Fraction(1, _TICKS)
    packet.pts = packet.dts = ticks
    packet.is_keyframe = picture.is_key
    return packet


def main() -> None:
    """Write one file and print where the clip lies in it, as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clip", type=Path)
    parser.add_argument("target", type=Path, help="ends in .ts")
    parser.add_argument("--idle-share", type=float, default=0.95)
    asked = parser.parse_args()
    made = day_like(asked.clip, asked.target, asked.idle_share)
    facts = {
        "path": str(made.path),
        "clip_at_s": made.clip_at_s,
        "clip_s": made.clip_s,
        "length_s": made.length_s,
    }
    print(json.dumps(facts | {"idle_share": round(made.idle_share, 4)}))


if __name__ == "__main__":
    main()
