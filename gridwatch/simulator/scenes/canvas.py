# SPDX-License-Identifier: AGPL-3.0-or-later
"""Laying cut-outs on a picture, and small paint strokes. Knows nothing of scenes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

Picture: TypeAlias = NDArray[np.uint8]
"""(rows, columns, 3) uint8, BGR."""

Colour: TypeAlias = tuple[float, float, float]
"""Blue, green, red, each 0 to 255."""

WIDTH_PX, HEIGHT_PX = 960, 540


@dataclass(frozen=True, slots=True, eq=False)
class Sprite:
    """A cut-out ready to be laid: what it adds and what it lets through.

    Attributes:
        light: (rows, columns, 3) uint8, BGR already multiplied by the alpha.
        through: (rows, columns, 3) uint8, 255 × (1 − alpha), the same in all three channels; None where it hides nothing.
    """

    light: Picture
    through: Picture | None = None

    @property
    def width_px(self) -> int:
        """Pixels across."""
        return int(self.light.shape[1])

    @property
    def height_px(self) -> int:
        """Pixels down."""
        return int(self.light.shape[0])

    def scaled(self, width_px: int, height_px: int) -> "Sprite":
        """Return the cut-out at another size (area-averaged when smaller)."""
        size = (max(1, width_px), max(1, height_px))
        how = cv2.INTER_AREA if size[0] < self.width_px else cv2.INTER_LINEAR
        light = cv2.resize(self.light, size, interpolation=how)
        through = None if self.through is None else cv2.resize(self.through, size, interpolation=how)
        return Sprite(light, through)

    def mirrored(self) -> "Sprite":
        """Return the cut-out seen in a mirror."""
        through = None if self.through is None else np.ascontiguousarray(self.through[:, ::-1])
        return Sprite(np.ascontiguousarray(self.light[:, ::-1]), through)

    def tinted(self, blue: float, green: float, red: float) -> "Sprite":
        """Return the cut-out under a light of another colour (factors of the channels)."""
        light = np.clip(self.light * np.array([blue, green, red], np.float32), 0, 255).astype(np.uint8)
        return Sprite(light, self.through)


def cut(picture: Picture, alpha: NDArray[np.floating]) -> Sprite:
    """Cut `picture` (h, w, 3) out by `alpha` (h, w), 0 to 1."""
    opacity = np.clip(alpha, 0, 1)[..., None].astype(np.float32)
    light = (picture * opacity).astype(np.uint8)
    through = np.repeat(((1 - opacity) * 255).astype(np.uint8), 3, axis=2)
    return Sprite(light, through)


def lay(picture: Picture, sprite: Sprite, x: int, y: int) -> None:
    """Lay `sprite` with its upper left corner at (x, y), in place; what hangs over the edge is cut off."""
    rows, columns = picture.shape[:2]
    left, top = max(x, 0), max(y, 0)
    right, bottom = min(x + sprite.width_px, columns), min(y + sprite.height_px, rows)
    if left >= right or top >= bottom:
        return
    inside = np.s_[top - y : bottom - y, left - x : right - x]
    place = picture[top:bottom, left:right]
    dimmed = place if sprite.through is None else cv2.multiply(place, sprite.through[inside], scale=1 / 255)
    place[...] = cv2.add(dimmed, sprite.light[inside])


def heap(sprites: Sequence[tuple[Sprite, int, int]], width_px: int, height_px: int) -> Sprite:
    """Lay cut-outs over each other, each at its (x, y), into one cut-out of the given size."""
    light = np.zeros((height_px, width_px, 3), np.uint8)
    through = np.full_like(light, 255)
    for sprite, x, y in sprites:
        lay(light, sprite, x, y)
        if sprite.through is not None:
            lay(through, Sprite(np.zeros_like(sprite.light), sprite.through), x, y)
    return Sprite(light, through)


def glow(width_px: int, height_px: int, colour: Colour, strength: float) -> Sprite:
    """Return a soft elliptic light of `colour` that adds and hides nothing (strength 0 to 1)."""
    x = np.linspace(-1, 1, max(2, width_px), dtype=np.float32)
    y = np.linspace(-1, 1, max(2, height_px), dtype=np.float32)
    fall = np.clip(1 - np.sqrt(x[None, :] ** 2 + y[:, None] ** 2), 0, 1) ** 2 * strength
    light = (fall[..., None] * np.array(colour, np.float32)).clip(0, 255).astype(np.uint8)
    return Sprite(light)


def soft_noise(rng: np.random.Generator, rows: int, columns: int, grain_px: int) -> NDArray[np.float32]:
    """Return smooth noise (rows, columns) of unit size with bumps of about `grain_px`."""
    small = rng.normal(0, 1, (rows // grain_px + 2, columns // grain_px + 2)).astype(np.float32)
    smooth: NDArray[np.float32] = cv2.resize(small, (columns, rows), interpolation=cv2.INTER_CUBIC)
    return smooth


def fill(picture: Picture, points: list[tuple[int, int]], colour: Colour) -> None:
    """Fill a polygon (pixels) with one colour, edges smoothed."""
    cv2.fillPoly(picture, [np.array(points, np.int32)], colour, lineType=cv2.LINE_AA)


def fade(picture: Picture, top_px: int, bottom_px: int, upper: Colour, lower: Colour) -> None:
    """Fill the rows from `top_px` to `bottom_px` with a vertical gradient."""
    mix = np.linspace(0, 1, bottom_px - top_px, dtype=np.float32)[:, None, None]
    rows = np.array(upper, np.float32) * (1 - mix) + np.array(lower, np.float32) * mix
    picture[top_px:bottom_px] = rows.astype(np.uint8)


def shade(picture: Picture, points: list[tuple[int, int]], factor: float, soft_px: int = 0) -> None:
    """Darken (factor < 1) or lighten a polygon (pixels), with soft edges if asked; what lies outside is left."""
    corners = np.array(points, np.int32)
    left, top = np.maximum(corners.min(axis=0) - 3 * soft_px - 1, 0)
    right, bottom = corners.max(axis=0) + 3 * soft_px + 2
    part = picture[top : max(bottom, 0), left : max(right, 0)]
    if part.size == 0:
        return
    mask = np.zeros(part.shape[:2], np.float32)
    cv2.fillPoly(mask, [corners - (left, top)], 1.0)
    if soft_px:
        mask = cv2.GaussianBlur(mask, (0, 0), soft_px)
    part[...] = np.clip(part * (1 + (factor - 1) * mask[..., None]), 0, 255).astype(np.uint8)


def write(picture: Picture, text: str, x: int, y: int, *, size: float = 0.55) -> None:
    """Write ASCII text with its baseline at (x, y), light grey over a dark shadow."""
    for colour, by in (((70, 70, 70), 1), ((205, 205, 205), 0)):
        cv2.putText(picture, text, (x + by, y + by), cv2.FONT_HERSHEY_SIMPLEX, size, colour, 1, cv2.LINE_AA)
