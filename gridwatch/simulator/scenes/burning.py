# SPDX-License-Identifier: AGPL-3.0-or-later
"""Fire and smoke as events of a scene: they begin small, grow within seconds, burn for minutes and go out."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gridwatch.core.zone import Kind
from gridwatch.simulator.scenes.canvas import HEIGHT_PX, WIDTH_PX, Picture, Sprite, glow, heap, lay
from gridwatch.simulator.scenes.fluid import FluidBank, Plume, Ramp, flame_ramp, smoke_ramp
from gridwatch.simulator.scenes.schedule import SceneEvent, Slot

_GROW_S = 2.5
_DIE_S = 8.0
_FOOT = 0.055  # the source of a simulated field lies this share of its height above its lower edge
_FINE = 2  # plumes are laid over each other at half the picture's resolution: the fields are no finer
_FLICKER = 3  # every third tenth of a second the light is dimmer


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """One plume of several: how far beside the middle it rises, and its size; pixels."""

    plume: Plume
    ramp: Ramp
    beside_px: int
    width_px: int
    height_px: int


@dataclass(frozen=True, slots=True, eq=False)
class Blaze:
    """Columns that rise from one foot, (x, row) in pixels."""

    columns: tuple[Column, ...]
    foot: tuple[int, int]

    def extent(self) -> tuple[int, int, int, int]:
        """Return the pixels that it keeps to at full size: left, top, right, bottom."""
        x, base = self.foot
        tall = max(column.height_px for column in self.columns)
        half = max(abs(column.beside_px) + column.width_px // 2 for column in self.columns) + _FINE
        return (
            x - half,
            base - int(tall * (1 - _FOOT)) - _FINE,
            x + half,
            base + int(tall * _FOOT) + 2 * _FINE,
        )

    def draw(self, picture: Picture, at_s: float, *, size: float, strength: float) -> None:
        """Draw it at `size` (share of full size) and `strength` (1: not thinned)."""
        left, top, right, bottom = self.extent()
        wide, high = int((right - left) * size) // _FINE, int((bottom - top) * size) // _FINE
        above = int((self.foot[1] - top) * size) // _FINE
        parts = []
        for column in self.columns:
            width, height = int(column.width_px * size) // _FINE, int(column.height_px * size) // _FINE
            sprite = column.ramp.paint(column.plume.field(at_s), width, height, strength)
            x = wide // 2 + int(column.beside_px * size) // _FINE - width // 2
            parts.append((sprite, x, above - int(height * (1 - _FOOT))))
        whole = heap(parts, wide, high).scaled(wide * _FINE, high * _FINE)
        lay(picture, whole, self.foot[0] - whole.width_px // 2, self.foot[1] - above * _FINE)


def presence(event: SceneEvent, at_s: float) -> float:
    """Return how much of an event is there, 0 to 1: it grows after its onset and dwindles before its end."""
    grown = (at_s - event.appears_s) / _GROW_S
    left = (event.end_s - at_s) / _DIE_S
    return float(np.clip(min(grown, left), 0, 1))


def _share(extents: Sequence[tuple[int, int, int, int]]) -> tuple[float, float, float, float]:
    """Return the normalised box around pixel boxes, cut off at the picture's edges."""
    low, high = np.min(extents, axis=0), np.max(extents, axis=0)
    scale = np.array([WIDTH_PX, HEIGHT_PX])
    x0, y0 = np.clip(low[:2] / scale, 0, 1)
    x1, y1 = np.clip(high[2:] / scale, 0, 1)
    return float(x0), float(y0), float(x1), float(y1)


class Fire:
    """An open flame on the ground, with its light around it."""

    def __init__(self, camera: str, slot: Slot, fluids: FluidBank, foot: tuple[int, int]) -> None:
        rng = slot.rng
        height = int(rng.uniform(190, 280))
        columns = []
        for beside, share in ((-0.17, rng.uniform(0.55, 0.85)), (0.16, rng.uniform(0.55, 0.85)), (0.0, 1.0)):
            tall = int(height * share)
            ramp = flame_ramp(rng)
            columns.append(Column(fluids.flames(rng), ramp, int(beside * height), int(tall * 0.95), tall))
        self._blaze = Blaze(tuple(columns), foot)
        lit = (int(height * 2.2), int(height * 1.1))
        self._lights = (glow(*lit, (22, 85, 170), 0.4), glow(*lit, (25, 95, 190), 0.5))
        corner = self._corner(self._lights[0])
        extents = (self._blaze.extent(), (*corner, corner[0] + lit[0], corner[1] + lit[1]))
        self.event = SceneEvent(
            kind=Kind.FIRE, subtype="flame", camera=camera, appears_s=slot.begin_s, onset_s=slot.begin_s,
            end_s=slot.end_s, box=_share(extents),
        )  # fmt: skip

    def _corner(self, light: Sprite) -> tuple[int, int]:
        x, base = self._blaze.foot
        return x - light.width_px // 2, base - light.height_px * 4 // 5

    def base_px(self, at_s: float) -> float:  # noqa: ARG002  it stays where it is
        """Return where it burns."""
        return float(self._blaze.foot[1])

    def draw(self, picture: Picture, at_s: float) -> None:
        """Draw flames and light."""
        size = presence(self.event, at_s)
        if size <= 0:
            return
        if size > 1 / 2:  # a small flame lights nothing yet
            light = self._lights[int(at_s * 10) % _FLICKER != 0]
            lay(picture, light, *self._corner(light))
        self._blaze.draw(picture, at_s, size=0.35 + 0.65 * size, strength=1.0)


class Smoke:
    """Grey smoke that rises in front of a plain ground."""

    def __init__(self, camera: str, slot: Slot, fluids: FluidBank, foot: tuple[int, int]) -> None:
        rng = slot.rng
        height = int(rng.uniform(300, 400))
        grey = rng.uniform(50, 95) if rng.integers(3) else rng.uniform(208, 224)
        tone = (grey * rng.uniform(0.98, 1.04), grey, grey * rng.uniform(0.97, 1.02))
        columns = []
        for beside in (-0.09, 0.08, 0.0):
            tall = int(height * rng.uniform(0.8, 1.0))
            ramp = smoke_ramp(rng.uniform(1.3, 1.9), tone)
            columns.append(Column(fluids.smokes(rng), ramp, int(beside * height), int(tall * 0.9), tall))
        self._blaze = Blaze(tuple(columns), foot)
        self.event = SceneEvent(
            kind=Kind.SMOKE, subtype="smoke", camera=camera, appears_s=slot.begin_s, onset_s=slot.begin_s,
            end_s=slot.end_s, box=_share([self._blaze.extent()]),
        )  # fmt: skip

    def base_px(self, at_s: float) -> float:  # noqa: ARG002  it stays where it is
        """Return where it rises from."""
        return float(self._blaze.foot[1])

    def draw(self, picture: Picture, at_s: float) -> None:
        """Draw the plumes."""
        size = presence(self.event, at_s)
        if size > 0:
            self._blaze.draw(picture, at_s, size=0.4 + 0.6 * size, strength=min(1.0, 0.3 + size))
