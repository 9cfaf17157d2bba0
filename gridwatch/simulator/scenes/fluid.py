# SPDX-License-Identifier: AGPL-3.0-or-later
"""Flames and smoke from this project's own simulated fields (a two-dimensional buoyant fluid), made endless.

`flames.npz` holds `flame` and `smoke`, each (5, 72, 128, 96) uint8: five scenes of 72 consecutive frames. A field is
temperature or density, not a picture; the colours are made here.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from gridwatch.core.errors import InputError
from gridwatch.simulator.scenes.canvas import Colour, Sprite

Field = NDArray[np.uint8]

_FIRST = 14  # earlier frames are still rising from nothing
_BORDER = 14  # cells
_BLEND = 14  # frames over which the end of a loop turns into its beginning


@dataclass(frozen=True, slots=True, eq=False)
class Plume:
    """One simulated scene as an endless loop.

    Attributes:
        frames: (72, 128, 96) uint8.
        rate: simulated frames per second.
        phase: where in the loop it starts, simulated frames.
    """

    frames: Field
    rate: float
    phase: float

    def field(self, at_s: float) -> Field:
        """Return the field at `at_s`, (128, 96) uint8, smooth in time and without a seam."""
        period = len(self.frames) - _FIRST - _BLEND
        place = (at_s * self.rate + self.phase) % period
        now = self._between(_FIRST + _BLEND + place)
        into = place - (period - _BLEND)
        if into <= 0:
            return now
        begin = self._between(_FIRST + into)
        share = into / _BLEND
        return _mix(now, begin, share)

    def _between(self, place: float) -> Field:
        first = min(int(place), len(self.frames) - 1)
        second = min(first + 1, len(self.frames) - 1)
        return _mix(self.frames[first], self.frames[second], place - int(place))


def _mix(one: Field, other: Field, share: float) -> Field:
    mixed: Field = cv2.addWeighted(one, 1 - share, other, share, 0)
    return mixed


@dataclass(frozen=True, slots=True, eq=False)
class Ramp:
    """How a field's 256 values look: `light` (1, 256, 3) uint8 BGR times alpha, `through` (256,) uint8."""

    light: NDArray[np.uint8]
    through: NDArray[np.uint8]

    def paint(self, field: Field, width_px: int, height_px: int, strength: float = 1.0) -> Sprite:
        """Return the field as a cut-out of the given size; `strength` (0 to 1) thins it."""
        thinned = cv2.convertScaleAbs(field, alpha=strength) if strength < 1 else field
        light = cv2.LUT(cv2.merge((thinned, thinned, thinned)), self.light)
        through = cv2.LUT(thinned, self.through)
        return Sprite(light, cv2.merge((through, through, through))).scaled(width_px, height_px)


def flame_ramp(rng: np.random.Generator) -> Ramp:
    """Return the colours of a flame: red at the rim, yellow to white inside."""
    x = np.arange(256, dtype=np.float32) / 255 * 1.6 / rng.uniform(0.8, 1.05)
    red = np.clip(3.2 * x, 0, 1)
    green = np.clip(2.2 * x - 0.45, 0, 1) * rng.uniform(0.8, 1.0)
    blue = np.clip(2.4 * x - 1.5, 0, 1) * rng.uniform(0.6, 0.95)
    alpha = np.clip(4 * (x - 0.06), 0, 1) ** 0.8
    return _ramp(np.stack([blue, green, red], axis=1) * 255, alpha)


def smoke_ramp(thickness: float, colour: Colour) -> Ramp:
    """Return the look of smoke of one colour; its alpha is 1 − exp(−density × thickness)."""
    density = np.arange(256, dtype=np.float32) / 255 * 2.5
    alpha = np.clip(1 - np.exp(-density * thickness), 0, 0.95)
    lit = np.array(colour, np.float32) * (0.86 + 0.12 * density[:, None])
    return _ramp(lit.clip(0, 255), alpha)


def _ramp(colour: NDArray[np.floating], alpha: NDArray[np.floating]) -> Ramp:
    light = (colour * alpha[:, None]).astype(np.uint8)[None]
    return Ramp(light, ((1 - alpha) * 255).astype(np.uint8))


@dataclass(frozen=True, slots=True, eq=False)
class FluidBank:
    """All simulated scenes; `flame` and `smoke`, each (5, 72, 128, 96) uint8."""

    flame: Field
    smoke: Field

    def flames(self, rng: np.random.Generator) -> Plume:
        """Draw a flame."""
        return self._draw(self.flame, rng, (9.0, 12.0))

    def smokes(self, rng: np.random.Generator) -> Plume:
        """Draw a plume of smoke."""
        return self._draw(self.smoke, rng, (9.0, 12.0))

    @staticmethod
    def _draw(scenes: Field, rng: np.random.Generator, rates: tuple[float, float]) -> Plume:
        frames = scenes[rng.integers(len(scenes))]
        if rng.integers(2):
            frames = frames[:, :, ::-1]
        return Plume(np.ascontiguousarray(frames), rng.uniform(*rates), rng.uniform(0, 72))


def _without_borders(scenes: Field) -> Field:
    """Return the fields faded out towards the sides and the top, where the simulated box would show."""
    rows, columns = scenes.shape[-2:]
    aside = np.minimum(np.arange(columns), np.arange(columns)[::-1]) / _BORDER
    below = np.arange(rows) / _BORDER
    share = np.clip(aside, 0, 1)[None, :] * np.clip(below, 0, 1)[:, None]
    return (scenes * share.astype(np.float32)).astype(np.uint8)


def load_fluids(path: Path | None = None) -> FluidBank:
    """Read the simulated fields, by default those that come with gridwatch.

    Raises:
        InputError: the file is missing or is not what it should be.
    """
    file = path or Path(__file__).with_name("flames.npz")
    try:
        with np.load(file) as stored:
            return FluidBank(_without_borders(stored["flame"]), _without_borders(stored["smoke"]))
    except (OSError, KeyError, ValueError) as exc:
        raise InputError("the simulated flames cannot be read; reinstall gridwatch", file=file) from exc
