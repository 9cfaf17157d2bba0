# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is known of one camera's picture and outlasts a restart, and its form in bytes. Not here: files, and when to write them.

A camera that was blurred, covered or frozen before a restart must not begin as one that always looked like that.
"""

import math
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ingest.freshnoise import MEMORY, STRIP, Noise, Still
from ingest.recurrence import ALIVE_PICTURES
from ingest.usual import Light

_NUMBERS: Final = np.dtype(
    [
        ("sharpness", "<f4"),
        ("level", "<f4"),
        ("detail", "<f4"),
        ("coarse", "<f4", (9, 16)),
        ("shared", "u1", (MEMORY,)),
        ("steps", "<f4", (MEMORY,)),
        ("alike", "<f4", (MEMORY,)),
        ("sizes", "<f4", (MEMORY,)),
    ]
)
# a background of whole steps would itself look like noise that is always the same
_STILL: Final = np.dtype([("background", "<f2", STRIP), ("strip", "u1", STRIP)])
_NOTHING: Final = 255
MOST_BYTES: Final = _NUMBERS.itemsize + _STILL.itemsize
"""The most bytes that `written` returns."""


@dataclass(frozen=True, slots=True, eq=False)
class Usual:
    """What is usual for one camera.

    Attributes:
        light: its light, detail and sharpness; None while they are not known.
        shared: how many bands each of its last new pictures shared with an earlier one (see `recurrence`).
        noise: how new its noise is each time (see `freshnoise`).
    """

    light: Light | None = None
    shared: bytes = b""
    noise: Noise = field(default_factory=Noise)

    @property
    def known(self) -> int:
        """How much of it can be judged by: 0 to 4."""
        calibrated = (self.noise.knows_steps, self.noise.knows_alike)
        return (self.light is not None) + (len(self.shared) >= ALIVE_PICTURES) + sum(calibrated)


@dataclass(frozen=True, slots=True, eq=False)
class Home:
    """What outlasts a restart.

    Attributes:
        views: the home view, (n, 90, 160) uint8, n ≤ 4 (see `homeview`).
        usual: what is usual for the camera.
    """

    views: NDArray[np.uint8]
    usual: Usual = field(default_factory=Usual)


def written(usual: Usual) -> bytes:
    """Return it as bytes, at most `MOST_BYTES`."""
    numbers = np.zeros((), _NUMBERS)
    light = usual.light
    for name in ("sharpness", "level", "detail", "coarse"):
        numbers[name] = np.nan if light is None else getattr(light, name)
    numbers["shared"] = _filled(usual.shared, _NOTHING)
    for name in ("steps", "alike", "sizes"):
        numbers[name] = _filled(getattr(usual.noise, name), np.nan)
    still = usual.noise.still
    if still is None:
        return numbers.tobytes()
    last = np.zeros((), _STILL)
    last["background"], last["strip"] = still.background, still.strip
    return numbers.tobytes() + last.tobytes()


def read(held: bytes) -> Usual | None:
    """Return what `written` made bytes of; None where they are something else."""
    if len(held) not in {_NUMBERS.itemsize, MOST_BYTES}:
        return None
    numbers = np.frombuffer(held, _NUMBERS, 1)[0]
    shared = bytes(count for count in numbers["shared"].tolist() if count != _NOTHING)
    light = Light(
        float(numbers["sharpness"]),
        float(numbers["level"]),
        float(numbers["detail"]),
        numbers["coarse"].copy(),
    )
    steps, alike, sizes = (_numbers(numbers[name]) for name in ("steps", "alike", "sizes"))
    still = None
    if len(held) == MOST_BYTES:
        last = np.frombuffer(held, _STILL, 1, _NUMBERS.itemsize)[0]
        still = Still(last["background"].astype(np.float32), last["strip"].copy())
        if not np.isfinite(still.background).all():
            return None
    is_known = all(
        map(math.isfinite, (light.sharpness, light.level, light.detail, float(light.coarse.sum())))
    )
    return Usual(light if is_known else None, shared, Noise(steps, alike, sizes, still))


def _filled(values: Any, rest: float) -> list[float]:
    return [*values, *[rest] * (MEMORY - len(values))]


def _numbers(values: NDArray[np.float32]) -> tuple[float, ...]:
    return tuple(values[np.isfinite(values)].tolist())
