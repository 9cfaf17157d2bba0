# SPDX-License-Identifier: AGPL-3.0-or-later
"""A two-dimensional buoyant fluid that gives pictures of flames and smoke without anybody's footage.

Heat rises, carries itself along (semi-Lagrangian advection), cools, and stays free of divergence (projection by FFT; J.
Stam, "Stable Fluids", 1999). Small whirls that the grid would swallow are given back (vorticity confinement; R. Fedkiw,
J. Stam, H. W. Jensen, "Visual Simulation of Smoke", 2001). Looks matter here, physics does not.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from gridwatch.core.geometry import Float32

ROWS, COLUMNS = 128, 96
WARM_UP = 50  # steps until the plume has its shape
_VENT_ROW = ROWS - 8


@dataclass(frozen=True, slots=True)
class Blaze:
    """What burns.

    Attributes:
        width: of the vent, cells.
        lift: cells per step² that heat rises by.
        keep: share of heat that outlives a step.
        wind: cells per step² at the top.
        hottest: where heat is cut.
    """

    width: float
    lift: float
    keep: float
    wind: float
    hottest: float


def flame(rng: np.random.Generator) -> Blaze:
    """Draw a flame: fast, short-lived."""
    return Blaze(
        rng.uniform(4, 16), rng.uniform(0.1, 0.22), rng.uniform(0.95, 0.975), rng.normal(0, 0.1), 1.6
    )


def smoulder(rng: np.random.Generator) -> Blaze:
    """Draw smoke: slow, lasting, bent by the wind."""
    return Blaze(
        rng.uniform(3, 10), rng.uniform(0.05, 0.1), rng.uniform(0.988, 0.997), rng.normal(0, 0.3), 2.5
    )


def simulate(blaze: Blaze, rng: np.random.Generator, frames: int, every: int = 6) -> list[Float32]:
    """Return heat fields (128, 96) float32 in 0 to `hottest`, one in `every` steps."""
    y, x = np.mgrid[:ROWS, :COLUMNS].astype(np.float32)
    speed_x, speed_y, heat = (np.zeros((ROWS, COLUMNS), np.float32) for _ in range(3))
    solve = _pressure_solver()
    phases = rng.uniform(0, 2 * np.pi, 4).astype(np.float32)
    kept: list[Float32] = []
    for step in range(WARM_UP + frames * every):
        heat = np.clip(heat + 0.35 * _vent(x, y, blaze.width, phases, step, rng), 0, blaze.hottest)
        speed_y -= blaze.lift * heat
        speed_x += 0.02 * blaze.wind * (1 - y / ROWS)
        _whirl(speed_x, speed_y)
        _gusts(speed_x, speed_y, heat, rng)
        _project(speed_x, speed_y, solve)
        back_x, back_y = x - speed_x, y - speed_y
        speed_x = cv2.remap(speed_x, back_x, back_y, cv2.INTER_LINEAR) * np.float32(0.985)
        speed_y = cv2.remap(speed_y, back_x, back_y, cv2.INTER_LINEAR) * np.float32(0.985)
        heat = cv2.remap(heat, back_x, back_y, cv2.INTER_LINEAR) * np.float32(blaze.keep)
        if step >= WARM_UP and step % every == 0:
            kept.append(heat.copy())
    return kept


def _vent(
    x: Float32, y: Float32, width: float, phases: Float32, step: int, rng: np.random.Generator
) -> Float32:
    spread = width / 2.2
    out = np.zeros_like(x)
    for at, phase in zip(np.linspace(-0.75, 0.75, len(phases)), phases, strict=True):
        centre = COLUMNS / 2 + at * width + 1.5 * np.sin(0.35 * step + phase)
        strength = 0.6 + 0.4 * rng.random()
        out += strength * np.exp(-((x - centre) ** 2) / (2 * spread**2) - (y - _VENT_ROW) ** 2 / 18)
    return out.astype(np.float32)


def _slope(field: Float32) -> tuple[Float32, Float32]:
    along = cv2.Sobel(field, cv2.CV_32F, 1, 0, ksize=3, scale=1 / 8)
    return along, cv2.Sobel(field, cv2.CV_32F, 0, 1, ksize=3, scale=1 / 8)


def _whirl(speed_x: Float32, speed_y: Float32, strength: float = 0.35) -> None:
    curl = _slope(speed_y)[0] - _slope(speed_x)[1]
    towards_x, towards_y = _slope(np.abs(curl))
    length = np.sqrt(towards_x**2 + towards_y**2) + 1e-5
    speed_x += strength * towards_y / length * curl
    speed_y -= strength * towards_x / length * curl


def _gusts(speed_x: Float32, speed_y: Float32, heat: Float32, rng: np.random.Generator) -> None:
    coarse = rng.normal(0, 0.18, (8, 6, 2)).astype(np.float32)
    gust = cv2.resize(coarse, (COLUMNS, ROWS), interpolation=cv2.INTER_CUBIC)
    where = heat > 0.05  # noqa: PLR2004  air without heat has nothing to show
    speed_x += gust[..., 0] * where
    speed_y += 0.5 * gust[..., 1] * where


def _pressure_solver() -> Float32:
    """Return the Laplacian's eigenvalues on the periodic grid, with 1 in place of the constant's 0."""
    rows = 2 * np.cos(2 * np.pi * np.arange(ROWS) / ROWS) - 2
    columns = 2 * np.cos(2 * np.pi * np.arange(COLUMNS // 2 + 1) / COLUMNS) - 2
    eigenvalues: Float32 = (rows[:, None] + columns[None, :]).astype(np.float32)
    eigenvalues[0, 0] = 1
    return eigenvalues


def _project(speed_x: Float32, speed_y: Float32, eigenvalues: Float32) -> None:
    divergence = (
        np.roll(speed_x, -1, 1) - np.roll(speed_x, 1, 1) + np.roll(speed_y, -1, 0) - np.roll(speed_y, 1, 0)
    ) / 2
    pressure = np.fft.irfft2(np.fft.rfft2(divergence) / eigenvalues, s=(ROWS, COLUMNS)).astype(np.float32)
    speed_x -= (np.roll(pressure, -1, 1) - np.roll(pressure, 1, 1)) / 2
    speed_y -= (np.roll(pressure, -1, 0) - np.roll(pressure, 1, 0)) / 2
