# SPDX-License-Identifier: AGPL-3.0-or-later
"""Generated flames and smoke laid into clean pictures, with their boxes. Colours are those of the demo's scenes."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from gridwatch.core.geometry import Float32
from models.training.cuttings import Cutting
from models.training.fluid import flame, simulate, smoulder
from models.training.pictures import FIRE, SMOKE

SCENES, FRAMES = 40, 8  # of each kind
SMALLEST, TALLEST = 0.04, 0.6  # of the picture's height: a camera sees fires from afar
REAL = 0.6  # of the flames are lifted from labelled pictures, the others simulated
VISIBLE = 0.2  # opacity from which a cell belongs to the box
_ENDS = (1, 99)  # percent of the visible cells that a box spans: stray wisps do not widen it


@dataclass(frozen=True, slots=True, eq=False)
class Bank:
    """Heat fields to draw from: (N, 128, 96) float32 each."""

    flames: Float32
    smokes: Float32
    cuttings: tuple[Cutting, ...] = ()


def make_bank(seed: int, scenes: int = SCENES, cuttings: tuple[Cutting, ...] = ()) -> Bank:
    """Simulate `scenes` flames and as many smokes (about half a minute of CPU for 40)."""
    rng = np.random.default_rng(seed)
    flames = [field for _ in range(scenes) for field in simulate(flame(rng), rng, FRAMES)]
    smokes = [field for _ in range(scenes) for field in simulate(smoulder(rng), rng, FRAMES)]
    return Bank(np.stack(flames), np.stack(smokes), cuttings)


def ignite(bgr: NDArray[np.uint8], bank: Bank, rng: np.random.Generator) -> Float32:
    """Lay smoke, a flame or both into `bgr` in place; return the boxes (n, 5) as in `Picture`."""
    height, width = bgr.shape[:2]
    tall = height * float(np.exp(rng.uniform(np.log(SMALLEST), np.log(TALLEST))))
    wide = tall * rng.uniform(0.55, 1.4)
    left, base = rng.uniform(-0.2, 0.95) * width, rng.uniform(0.35, 1.0) * height
    kind = rng.random()
    boxes = []
    if kind < 0.65:  # noqa: PLR2004  smoke alone in 40 %, with a flame in 25 %
        field = bank.smokes[rng.integers(len(bank.smokes))]
        stretch = rng.uniform(1.0, 1.9) if kind > 0.4 else 1.0  # noqa: PLR2004
        place = (left - (stretch - 1) * wide / 2, base - tall * (0.25 * (stretch > 1) + stretch))
        boxes += _lay(bgr, *_smoke(field, bgr, rng), place, (wide * stretch, tall * stretch), SMOKE)
    if kind > 0.4 and bank.cuttings and rng.random() < REAL:  # noqa: PLR2004
        boxes += _transplant(bgr, bank.cuttings[rng.integers(len(bank.cuttings))], (left, base), tall, rng)
    elif kind > 0.4:  # noqa: PLR2004
        field = bank.flames[rng.integers(len(bank.flames))]
        boxes += _lay(bgr, *_flame(field, rng), (left, base - tall), (wide, tall), FIRE, glow=0.3)
    return np.array(boxes, np.float32).reshape(-1, 5)


def _transplant(
    bgr: NDArray[np.uint8],
    cutting: Cutting,
    foot: tuple[float, float],
    tall: float,
    rng: np.random.Generator,
) -> list[tuple[float, ...]]:
    rows, columns = cutting.opacity.shape
    tall = min(tall, 1.6 * rows)  # not enlarged much: it would show
    wide = tall * columns / rows * rng.uniform(0.85, 1.18)
    colour, opacity = cutting.bgr, cutting.opacity
    if rng.random() < 0.5:  # noqa: PLR2004
        colour, opacity = colour[:, ::-1], opacity[:, ::-1]
    return _lay(bgr, colour, opacity, (foot[0], foot[1] - tall), (wide, tall), FIRE, glow=0.15)


def _flame(heat: Float32, rng: np.random.Generator) -> tuple[Float32, Float32]:
    """Return BGR (128, 96, 3) 0 to 255 and opacity (128, 96)."""
    x = np.clip(heat / rng.uniform(0.8, 1.2), 0, 1.3)
    red = np.clip(3.2 * x, 0, 1)
    green = np.clip(2.2 * x - 0.45, 0, 1) * rng.uniform(0.75, 1)
    blue = np.clip(2.4 * x - 1.5, 0, 1) * rng.uniform(0.6, 1)
    return np.dstack([blue, green, red]) * np.float32(255), np.clip(4 * (x - 0.06), 0, 1) ** 0.8


def _smoke(heat: Float32, bgr: NDArray[np.uint8], rng: np.random.Generator) -> tuple[Float32, Float32]:
    """As `_flame`; smoke is as bright as the scene's light allows, from black to white."""
    light = float(np.clip(1.6 * bgr[::8, ::8].mean(), 64, 255))
    tone = rng.uniform(0.12, 0.92) * light
    opacity = np.clip(1 - np.exp(-heat * rng.uniform(0.6, 2.2)), 0, 0.96)
    shade = tone * (0.85 + 0.1 * heat)
    tint = rng.uniform(0.96, 1.04, 3)
    return np.clip(shade[..., None] * tint, 0, 255).astype(np.float32), opacity


def _lay(  # noqa: PLR0913, PLR0917  a sprite, where it goes and what it is
    bgr: NDArray[np.uint8],
    colour: Float32,
    opacity: Float32,
    place: tuple[float, float],
    size: tuple[float, float],
    kind: int,
    glow: float = 0.0,
) -> list[tuple[float, ...]]:
    height, width = bgr.shape[:2]
    w, h = max(4, round(size[0])), max(4, round(size[1]))
    x, y = round(place[0]), round(place[1])
    x0, y0, x1, y1 = max(x, 0), max(y, 0), min(x + w, width), min(y + h, height)
    if x1 - x0 < 4 or y1 - y0 < 4:  # noqa: PLR2004  nothing to see
        return []
    cut = np.s_[y0 - y : y1 - y, x0 - x : x1 - x]
    shrunk = cv2.INTER_AREA if w < colour.shape[1] else cv2.INTER_LINEAR
    colours: Any = cv2.resize(colour, (w, h), interpolation=shrunk)[cut]
    alpha: Any = cv2.resize(opacity.astype(np.float32), (w, h), interpolation=shrunk)[cut]
    there = bgr[y0:y1, x0:x1]
    if glow:
        halo = cv2.blur(alpha, (2 * (w // 4) + 1,) * 2)[..., None] * np.float32(glow)
        there = there * (1 - halo) + halo * np.array([40, 120, 255], np.float32)
    bgr[y0:y1, x0:x1] = there * (1 - alpha[..., None]) + colours * alpha[..., None]
    rows, columns = np.nonzero(alpha > VISIBLE)
    if len(rows) < 12:  # noqa: PLR2004  too little to be called anything
        return []
    left, right = np.percentile(columns, _ENDS)
    top, bottom = np.percentile(rows, _ENDS)
    return [(float(kind), x0 + left, y0 + top, x0 + right + 1, y0 + bottom + 1)]
