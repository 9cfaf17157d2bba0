# SPDX-License-Identifier: AGPL-3.0-or-later
"""Clips for measurements, made on the spot: a quiet street with sensor noise, at a constant bit rate, as a camera sends it.

It is no scene in which anything should be detected: what matters is what it costs to read, decode and compare. Events
pass through it at stated seconds. The same footage is the same file, but for another version of the encoder.

What a key picture costs is nearly proportional to its bytes, so these have to be like a camera's. At 1080p, 25 pictures a second,
4.0 Mbit/s and a key picture every two seconds the cameras' clip that the first measurements were made with had 97 KB a key
picture and 18 KB each of the others; so has this one, within a few per cent. By itself x264 spends 150 KB on a key
picture of a street with noise of sigma 2, because it refines what all others refer to; a camera's encoder holds it down, for
the peak would make its stream late. And x264 begins with a picture of less than half the usual size.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate, cycle, takewhile
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from gridwatch.simulator.coding import Coding, Keys, Picture, write_clip
from gridwatch.simulator.rtsp.media import Codec
from gridwatch.simulator.treatments import noisy

Planes = NDArray[np.uint8]
EventKind = Literal["walker", "car", "lorry", "headlights"]

_SEED = 20
_AS_CAMERAS = "ipratio=0.865:zones=0,0,b=1.6"  # sizes of key pictures, and that of the first of all
_SIZES = {
    "walker": (0.025, 0.14),
    "car": (0.22, 0.16),
    "lorry": (0.75, 0.6),
}  # shares of the picture's width and height
_LUMA = {"walker": 45, "car": 190, "lorry": 80}
_CHROMA = {"walker": (118, 140), "car": (110, 165), "lorry": (150, 110)}
_GLARE_LEVELS = 50


@dataclass(frozen=True, slots=True)
class Event:
    """Something that passes: it crosses the picture from the left within `seconds`, or shines on it for so long."""

    kind: EventKind
    at_s: float
    seconds: float = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Footage:
    """What is recorded.

    Attributes:
        size: width and height, pixels, both even.
        gop_s: seconds from key picture to key picture; several are taken in turn.
        bit_rate: bits a second.
        noise: sensor noise, sigma in luma levels.
        preset: the encoder's: `veryfast` uses what cameras use (CABAC, deblocking), `ultrafast` is three times as fast to make.
    """

    seconds: float = 20.0
    size: tuple[int, int] = (1920, 1080)
    fps: float = 25.0
    gop_s: float | Sequence[float] = 2.0
    bit_rate: int = 4_000_000
    codec: Codec = "h264"
    noise: float = 2.0
    b_frames: int = 0
    keys: Keys = Keys.MARKED
    events: Sequence[Event] = ()
    preset: str = "veryfast"


def quiet_clip(path: Path, footage: Footage | None = None) -> Path:
    """Write the clip to `path` (its suffix names the container; .mp4 for most) and return it."""
    footage = footage or Footage()
    write_clip(path, _coding(footage), pictures(footage))
    return path


def pictures(footage: Footage) -> Iterator[Picture]:
    """Yield the pictures that `quiet_clip` writes, before they are coded."""
    width, height = footage.size
    street = _street(width, height)
    add_noise = noisy(footage.noise)
    count = round(footage.seconds * footage.fps)
    keys = set(_key_indices(footage, count))
    for index in range(count):
        planes = street.copy()
        for event in footage.events:
            _draw(planes, event, index / footage.fps - event.at_s)
        yield Picture(add_noise(planes), index in keys)


def _key_indices(footage: Footage, count: int) -> Iterator[int]:
    gops_s = footage.gop_s if isinstance(footage.gop_s, Sequence) else (footage.gop_s,)
    steps = (max(1, round(gop_s * footage.fps)) for gop_s in cycle(gops_s))
    return takewhile(lambda index: index < count, accumulate(steps, initial=0))


def _coding(footage: Footage) -> Coding:
    return Coding(
        width=footage.size[0],
        height=footage.size[1],
        fps=Fraction(footage.fps).limit_denominator(1001),
        bit_rate=footage.bit_rate,
        codec=footage.codec,
        keys=footage.keys,
        gop_s=footage.gop_s[0] if isinstance(footage.gop_s, Sequence) else footage.gop_s,
        b_frames=footage.b_frames,
        preset=footage.preset,
        x264=_AS_CAMERAS,
    )


def _street(width: int, height: int) -> Planes:
    """Draw the empty street: sky, two rows of houses with windows, a road with grain and dashes."""
    rng = np.random.default_rng(_SEED)
    planes: Planes = np.full((height * 3 // 2, width), 128, np.uint8)
    luma, unit = planes[:height], height // 36
    luma[:] = np.linspace(205, 150, height).astype(np.uint8)[:, None]
    for left in range(0, width, 7 * unit):
        top = int(rng.integers(3, 12)) * unit
        luma[top : 20 * unit, left : left + 6 * unit] = rng.integers(70, 170)
        for row in range(top + unit, 19 * unit, 2 * unit):
            for column in range(left + unit, left + 5 * unit, 2 * unit):
                luma[row : row + unit, column : column + unit] = rng.integers(30, 220)
    grain = rng.normal(0, 9, (height - 20 * unit, width))
    luma[20 * unit :] = (105 + cv2.GaussianBlur(grain, (0, 0), 0.8) * 1.5).clip(16, 235)
    for left in range(0, width, 4 * unit):
        luma[27 * unit : 27 * unit + unit // 2, left : left + 2 * unit] = 215
    return planes


def _draw(planes: Planes, event: Event, since_s: float) -> None:
    if not 0 <= since_s < event.seconds:
        return
    height, width = planes.shape[0] * 2 // 3, planes.shape[1]
    if event.kind == "headlights":
        planes[:height] = cv2.add(planes[:height], _GLARE_LEVELS)
        return
    share_wide, share_high = _SIZES[event.kind]
    wide, high = round(share_wide * width), round(share_high * height)
    left = round((width + wide) * since_s / event.seconds) - wide
    columns, bottom = slice(max(0, left), max(0, left + wide)), round(0.9 * height)
    planes[bottom - high : bottom, columns] = _LUMA[event.kind]
    chroma = planes[height:].reshape(2, height // 2, width // 2)
    rows = slice((bottom - high) // 2, bottom // 2)
    for plane, value in zip(chroma, _CHROMA[event.kind], strict=True):
        plane[rows, columns.start // 2 : columns.stop // 2] = value


def main() -> None:
    """Write one clip."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--bit-rate", type=int, default=4_000_000)
    parser.add_argument("--gop-s", type=float, default=2.0)
    parser.add_argument("--codec", choices=("h264", "hevc"), default="h264")
    asked = parser.parse_args()
    footage = Footage(seconds=asked.seconds, bit_rate=asked.bit_rate, gop_s=asked.gop_s, codec=asked.codec)
    print(quiet_clip(asked.path, footage))


if __name__ == "__main__":
    main()
