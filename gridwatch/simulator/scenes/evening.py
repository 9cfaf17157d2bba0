# SPDX-License-Identifier: AGPL-3.0-or-later
"""The two quiet places: a street at night and a road at sunset. Full of what could pass for fire; nothing burns."""

import math

import cv2
import numpy as np

from gridwatch.simulator.scenes import strokes
from gridwatch.simulator.scenes.canvas import WIDTH_PX, Colour, Picture, fade, fill, glow, lay, shade
from gridwatch.simulator.scenes.places import Place

_BRIGHTEST = 1.25  # a fold of cloth that catches the light
_LAMP: Colour = (120, 190, 235)


def night_street(rng: np.random.Generator) -> Place:
    """Paint a street at night under lamps, with lit windows."""
    picture = strokes.empty()
    fade(picture, 0, 120, (34, 26, 20), (48, 40, 34))
    strokes.wall(picture, rng, (0, 60, WIDTH_PX, 250), strokes.vary(rng, (52, 54, 56), 8), stains=1.5)
    for x in range(int(rng.integers(20, 60)), WIDTH_PX - 60, 110):
        for y in (84, 162):
            lit = rng.random() < 0.35  # noqa: PLR2004  about a third of the windows are lit
            colour = strokes.vary(rng, (110, 168, 190) if lit else (40, 38, 36), 14)
            cv2.rectangle(picture, (x, y), (x + 46, y + 44), colour, -1)
            cv2.line(picture, (x + 23, y), (x + 23, y + 44), (50, 50, 50), 2)
    strokes.ground(picture, rng, 250, 330, (64, 64, 66))
    strokes.ground(picture, rng, 330, 540, (48, 48, 50))
    cv2.line(picture, (0, 331), (WIDTH_PX, 331), (84, 84, 86), 4)
    for x in range(int(rng.integers(90, 160)), WIDTH_PX, 300):
        _street_lamp(picture, x)
    return Place(
        "night-street", "夜间街道", "Street at night", strokes.finish(picture, rng), ((480, 440),), (), 470.0,
        (0.5, 0.55, 0.6),
    )  # fmt: skip


def _street_lamp(picture: Picture, x: int) -> None:
    cv2.line(picture, (x, 300), (x, 70), (70, 72, 74), 5, cv2.LINE_AA)
    cv2.line(picture, (x, 70), (x + 40, 62), (70, 72, 74), 4, cv2.LINE_AA)
    pool = glow(420, 130, _LAMP, 0.28)
    lay(picture, pool, x + 40 - 210, 255)
    halo = glow(110, 110, _LAMP, 0.5)
    lay(picture, halo, x + 44 - 55, 64 - 55)
    cv2.ellipse(picture, (x + 44, 64), (15, 6), 0, 0, 360, (225, 245, 255), -1, cv2.LINE_AA)


def sunset_road(rng: np.random.Generator) -> Place:
    """Paint a road along a river walk, a low sun in an orange sky behind."""
    picture = strokes.empty()
    fade(picture, 0, 150, (150, 110, 96), (120, 150, 205))
    fade(picture, 150, 235, (120, 150, 205), (96, 168, 236))
    sun = (int(rng.uniform(240, 720)), int(rng.uniform(165, 195)))
    halo = glow(520, 300, (80, 160, 230), 0.6)
    lay(picture, halo, sun[0] - 260, sun[1] - 150)
    cv2.circle(picture, sun, int(rng.uniform(17, 25)), (190, 232, 252), -1, cv2.LINE_AA)
    for x in range(-int(rng.integers(0, 60)), WIDTH_PX, 120):
        top = int(rng.integers(150, 215))
        if abs(x + 55 - sun[0]) > 110:  # noqa: PLR2004  the sun stays in sight
            fill(
                picture,
                [(x, top), (x + 110, top), (x + 110, 240), (x, 240)],
                strokes.vary(rng, (62, 56, 58), 8),
            )
    strokes.ground(picture, rng, 236, 540, strokes.vary(rng, (92, 108, 126), 8))
    strokes.paving(picture, 240, 540, (84, 98, 114), 16)
    strokes.road(picture, rng, 408, 512)
    shade(picture, [(0, 402), (WIDTH_PX, 402), (WIDTH_PX, 520), (0, 520)], 0.72)
    streak = glow(240, 420, (60, 110, 150), 0.35)
    lay(picture, streak, sun[0] - 120, 236 - 60)
    return Place(
        "sunset-road", "滨河路傍晚", "Riverside road at sunset", strokes.finish(picture, rng), ((500, 430),),
        (345.0, 385.0, 532.0), 498.0, (0.7, 0.74, 0.78),
    )  # fmt: skip


class HeadLamps:
    """A pair of head lamps (or tail lamps) that crosses the picture now and then with its glare."""

    def __init__(self, rng: np.random.Generator, row_px: float, period_s: float) -> None:
        self._row_px, self._period_s = row_px, period_s
        self._phase_s = rng.uniform(0, period_s)
        self._speed_px = rng.uniform(180, 320)
        self._rightwards = bool(rng.integers(2))
        self._glare = glow(150, 110, (215, 235, 245), 0.9)
        self._pool = glow(300, 60, (110, 130, 140), 0.4)

    def base_px(self, at_s: float) -> float:  # noqa: ARG002  drives along one row
        """Return the row driven on."""
        return self._row_px

    def draw(self, picture: Picture, at_s: float) -> None:
        """Draw both lamps and their light on the road."""
        way = ((at_s + self._phase_s) % self._period_s) * self._speed_px - 150
        if way > WIDTH_PX + 150:
            return
        x = round(way if self._rightwards else WIDTH_PX - way)
        y = round(self._row_px)
        lay(picture, self._pool, x - 150, y - 10)
        for beside in (-22, 22):
            lay(picture, self._glare, x + beside - 75, y - 75)


class Cloth:
    """A cloth on a pole that waves in the wind."""

    def __init__(
        self, rng: np.random.Generator, colour: Colour, columns: tuple[int, int] = (150, 780)
    ) -> None:
        self._x, self._y = int(rng.uniform(*columns)), int(rng.uniform(110, 150))
        wide, tall = int(rng.uniform(90, 130)), int(rng.uniform(70, 100))
        weave = np.full((tall, wide, 3), colour, np.float32) + rng.normal(0, 3, (tall, wide, 1))
        self._cloth = np.clip(weave * _BRIGHTEST, 0, 255).astype(np.uint8)
        self._phase = rng.uniform(0, 6)

    def base_px(self, at_s: float) -> float:  # noqa: ARG002  hangs in one place
        """Return the row it hangs on: behind everything."""
        return float(self._y)

    def draw(self, picture: Picture, at_s: float) -> None:
        """Draw the cloth with its folds where they are now."""
        tall, wide = self._cloth.shape[:2]
        columns = np.arange(wide, dtype=np.float32)
        wave = np.sin(columns / 15 - at_s * 5.0 + self._phase) * columns / wide
        lit = 1 + 0.22 * np.cos(columns / 15 - at_s * 5.0 + self._phase) * columns / wide
        shades = np.repeat((lit / _BRIGHTEST * 255).astype(np.uint8)[None, :, None], tall, axis=0).repeat(
            3, axis=2
        )
        drop = np.arange(tall + 16, dtype=np.float32)[:, None] - 8 - 6 * wave[None, :].astype(np.float32)
        lit_cloth = cv2.multiply(self._cloth, shades, scale=1 / 255)
        across = np.repeat(columns[None, :], tall + 16, axis=0)
        folded = cv2.remap(lit_cloth, across, drop, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        covers = ((drop >= 0) & (drop <= tall - 1)).astype(np.uint8)
        place = picture[self._y - 8 : self._y + tall + 8, self._x : self._x + wide]
        place[...] = cv2.copyTo(folded, covers, place.copy())
        cv2.line(
            picture, (self._x, self._y - 26), (self._x, self._y + tall + 60), (90, 90, 92), 4, cv2.LINE_AA
        )


class Flicker:
    """A sign or lamp that flickers."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._x, self._y = int(rng.uniform(100, 800)), int(rng.uniform(236, 250))
        colours: tuple[Colour, ...] = ((200, 120, 60), (90, 190, 110), (90, 120, 225))
        colour = colours[int(rng.integers(3))]
        self._bright, self._dim = glow(120, 56, colour, 0.8), glow(120, 56, colour, 0.45)

    def base_px(self, at_s: float) -> float:  # noqa: ARG002  hangs in one place
        """Return the row it hangs on."""
        return float(self._y)

    def draw(self, picture: Picture, at_s: float) -> None:
        """Draw its light."""
        light = self._bright if math.sin(at_s * 2.3) + math.sin(at_s * 5.1) > 0 else self._dim
        lay(picture, light, self._x, self._y - 28)
