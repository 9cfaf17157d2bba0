# SPDX-License-Identifier: AGPL-3.0-or-later
"""Places by day: painted backgrounds, and what of them an event may use. No two seeds give the same picture."""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from gridwatch.core.zone import Kind
from gridwatch.simulator.scenes import strokes
from gridwatch.simulator.scenes.canvas import WIDTH_PX, Colour, Picture, fill, shade

DAYLIGHT: Colour = (1.0, 1.0, 1.0)


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """A painted place.

    Attributes:
        picture: (540, 960, 3) uint8 BGR, without anything that moves.
        spots: where something may burn or smoke: feet (x, row) in pixels, each with bins in the picture.
        walks: rows on which passers-by walk.
        drive_px: the row on which buses' wheels stand; None where there is no road.
        light: factors of blue, green and red for what is laid into the place.
    """

    key: str
    title_zh: str
    title_en: str
    picture: Picture
    spots: tuple[tuple[int, int], ...] = ()
    walks: tuple[float, ...] = ()
    drive_px: float | None = None
    light: Colour = DAYLIGHT


def _bins(
    picture: Picture, rng: np.random.Generator, spans: tuple[tuple[int, int], ...], rows: tuple[int, int]
) -> tuple[tuple[int, int], ...]:
    """Put bins into each span of columns; return where."""
    spots = []
    for left, right in spans:
        x, base_px = int(rng.uniform(left, right)), int(rng.uniform(*rows))
        strokes.waste_bin(picture, rng, x, base_px)
        spots.append((x, base_px + 6))
    return tuple(spots)


def yard(rng: np.random.Generator) -> Place:
    """Paint a residential yard: a block of flats behind a lawn, a wide paved yard."""
    picture = strokes.empty()
    strokes.wall(picture, rng, (0, 0, WIDTH_PX, 210), strokes.vary(rng, (168, 184, 192), 16))
    offset = int(rng.integers(20, 70))
    for x in range(offset, WIDTH_PX - 70, 150):
        for y in (18, 112):
            strokes.window(picture, rng, (x, y, x + 62, y + 52), (188, 192, 194))
    strokes.ground(picture, rng, 210, 248, strokes.vary(rng, (76, 110, 92), 8))
    strokes.ground(picture, rng, 248, 540, strokes.vary(rng, (142, 146, 148), 12))
    cv2.line(picture, (0, 249), (WIDTH_PX, 249), (120, 122, 122), 4)
    strokes.paving(picture, 254, 540, (122, 124, 126))
    for x in (int(rng.uniform(60, 160)), int(rng.uniform(800, 900))):
        strokes.tree(picture, rng, x, 246, 190)
    spots = _bins(picture, rng, ((230, 330), (430, 540), (640, 730)), (360, 440))
    return Place(
        "yard", "幸福里院落", "Residential yard", strokes.finish(picture, rng), spots, (385.0, 470.0, 525.0)
    )


def lane(rng: np.random.Generator) -> Place:
    """Paint a back lane along a long plain wall."""
    picture = strokes.empty()
    strokes.sky(picture, rng, 40)
    plaster = strokes.vary(rng, (158, 168, 172), 22)
    strokes.wall(picture, rng, (0, 34, WIDTH_PX, 300), plaster, stains=1)
    cv2.rectangle(picture, (0, 28), (WIDTH_PX, 40), strokes.lighter(plaster, 0.72), -1)
    for x in range(int(rng.integers(20, 100)), WIDTH_PX, 160):
        cv2.line(picture, (x, 40), (x, 262), strokes.lighter(plaster, 0.86), 2)
    cv2.line(picture, (0, 150), (WIDTH_PX, 150), strokes.lighter(plaster, 0.88), 2)
    strokes.wall(picture, rng, (0, 262, WIDTH_PX, 300), strokes.lighter(plaster, 0.8))
    strokes.bricks(picture, (0, 262, WIDTH_PX, 300), 12, strokes.lighter(plaster, 0.7))
    door = int(rng.uniform(790, 860))
    cv2.rectangle(picture, (door, 120), (door + 84, 300), strokes.vary(rng, (96, 92, 80), 14), -1)
    cv2.rectangle(picture, (door + 6, 128), (door + 78, 298), strokes.vary(rng, (112, 106, 92), 10), 2)
    strokes.ground(picture, rng, 300, 540, strokes.vary(rng, (126, 130, 132), 14))
    cv2.line(picture, (0, 302), (WIDTH_PX, 302), (86, 88, 88), 4)
    lean = int(rng.uniform(-120, 120))
    shade(picture, [(0, 420), (WIDTH_PX, 420 + lean // 3), (WIDTH_PX, 540), (0, 540)], 0.86, 10)
    strokes.pole(picture, int(rng.uniform(240, 330)), 304, 250)
    spots = _bins(picture, rng, ((240, 340), (430, 530), (620, 700)), (345, 410))
    return Place("lane", "后街小巷", "Back lane", strokes.finish(picture, rng), spots, (400.0, 500.0))


def shops(rng: np.random.Generator) -> Place:
    """Paint a row of shops behind a pavement, a road in front."""
    picture = strokes.empty()
    strokes.wall(picture, rng, (0, 0, WIDTH_PX, 250), strokes.vary(rng, (160, 166, 170), 14))
    signs: tuple[Colour, ...] = (
        (140, 104, 70),
        (92, 124, 84),
        (120, 112, 120),
        (150, 138, 96),
        (88, 92, 104),
    )
    wide = int(rng.integers(220, 260))
    for number, x in enumerate(range(-int(rng.integers(0, 120)), WIDTH_PX, wide)):
        _shop(picture, rng, (x + 8, x + wide - 8), signs[(number + int(rng.integers(5))) % 5])
    strokes.ground(picture, rng, 250, 330, strokes.vary(rng, (150, 154, 156), 10))
    strokes.paving(picture, 254, 330, (130, 132, 134), 22)
    strokes.road(picture, rng, 334, 492)
    strokes.ground(picture, rng, 500, 540, (148, 150, 152))
    spots = _bins(picture, rng, ((180, 300), (420, 560), (680, 780)), (318, 330))
    return Place(
        "shops",
        "沿街商铺",
        "Shopfront street",
        strokes.finish(picture, rng),
        spots,
        (332.0, 332.0, 534.0),
        468.0,
    )


def _shop(picture: Picture, rng: np.random.Generator, span: tuple[int, int], sign: Colour) -> None:
    left, right = span
    strokes.wall(
        picture, rng, (max(left, 0), 64, min(max(right, 1), WIDTH_PX), 112), strokes.vary(rng, sign, 10)
    )
    for x in range(left + 30, right - 40, 30):
        cv2.rectangle(picture, (x, 78), (x + 16, 97), strokes.lighter(sign, 1.6), -1)
    if rng.integers(2):
        cv2.rectangle(picture, (left + 10, 122), (right - 10, 250), (138, 140, 140), -1)
        for y in range(124, 250, 8):
            cv2.line(picture, (left + 10, y), (right - 10, y), (118, 120, 120), 1)
    else:
        cv2.rectangle(picture, (left + 10, 122), (right - 10, 250), (104, 98, 88), -1)
        shade(picture, [(left + 14, 126), (right - 60, 126), (left + 60, 246), (left + 14, 246)], 1.18, 5)
        cv2.line(picture, ((left + right) // 2, 122), ((left + right) // 2, 250), (160, 160, 158), 4)


def plaza(rng: np.random.Generator) -> Place:
    """Paint a community plaza: wide paving, a hedge, low houses far behind."""
    picture = strokes.empty()
    strokes.sky(picture, rng, 190)
    for x in range(-int(rng.integers(0, 100)), WIDTH_PX, 240):
        top = int(rng.integers(30, 80))
        strokes.wall(
            picture,
            rng,
            (max(x, 0), top, min(x + 210, WIDTH_PX), 190),
            strokes.vary(rng, (172, 180, 184), 24),
        )
        for wx in range(x + 24, x + 180, 52):
            for wy in range(top + 16, 160, 40):
                if 0 < wx < WIDTH_PX - 30:
                    cv2.rectangle(picture, (wx, wy), (wx + 24, wy + 20), (112, 106, 98), -1)
    strokes.ground(picture, rng, 182, 220, strokes.vary(rng, (66, 104, 80), 8))
    strokes.ground(picture, rng, 220, 540, strokes.vary(rng, (154, 160, 164), 12))
    strokes.paving(picture, 224, 540, (136, 140, 144), 14)
    cv2.line(picture, (0, 222), (WIDTH_PX, 222), (178, 180, 180), 5)
    for x in (int(rng.uniform(80, 200)), int(rng.uniform(760, 880))):
        strokes.tree(picture, rng, x, 226, 180)
    spots = _bins(picture, rng, ((240, 330), (620, 720)), (330, 420))
    return Place(
        "plaza", "社区广场", "Community plaza", strokes.finish(picture, rng), spots, (385.0, 470.0, 525.0)
    )


def gate(rng: np.random.Generator) -> Place:
    """Paint a school gate: a fence with two pillars, an open forecourt."""
    picture = strokes.empty()
    strokes.sky(picture, rng, 190)
    strokes.wall(picture, rng, (60, 50, 900, 190), strokes.vary(rng, (164, 176, 186), 14))
    for x in range(90 + int(rng.integers(0, 40)), 850, 96):
        strokes.window(picture, rng, (x, 74, x + 50, 118), (190, 194, 196))
    strokes.ground(picture, rng, 186, 540, strokes.vary(rng, (148, 152, 150), 12))
    for x in range(0, WIDTH_PX, 14):
        cv2.line(picture, (x, 150), (x, 246), (92, 100, 96), 2)
    for y in (154, 240):
        cv2.line(picture, (0, y), (WIDTH_PX, y), (92, 100, 96), 4)
    middle = int(rng.uniform(380, 580))
    for x in (middle - 130, middle + 110):
        strokes.wall(picture, rng, (x, 110, x + 26, 262), (176, 180, 182))
        fill(picture, [(x - 5, 102), (x + 31, 102), (x + 31, 112), (x - 5, 112)], (150, 152, 154))
    strokes.paving(picture, 264, 540, (130, 134, 132), 18)
    return Place("gate", "学校门口", "School gate", strokes.finish(picture, rng), (), (385.0, 470.0, 525.0))


def junction(rng: np.random.Generator) -> Place:
    """Paint a junction: a road across, a crossing, houses behind."""
    picture = strokes.empty()
    strokes.sky(picture, rng, 60)
    strokes.wall(picture, rng, (0, 36, WIDTH_PX, 226), strokes.vary(rng, (160, 172, 180), 18))
    for x in range(int(rng.integers(20, 80)), WIDTH_PX - 60, 120):
        for y in (58, 136):
            strokes.window(picture, rng, (x, y, x + 48, y + 42), (180, 184, 186))
    strokes.ground(picture, rng, 226, 312, strokes.vary(rng, (150, 154, 156), 10))
    strokes.paving(picture, 230, 312, (132, 134, 136), 24)
    strokes.road(picture, rng, 316, 500)
    strokes.ground(picture, rng, 508, 540, (146, 150, 150))
    cross = int(rng.choice([60, 740]))
    for y in range(330, 490, 26):
        lean = (y - 330) // 4
        fill(
            picture,
            [
                (cross + lean, y),
                (cross + 120 + lean, y),
                (cross + 124 + lean, y + 13),
                (cross + 3 + lean, y + 13),
            ],
            (178, 180, 180),
        )
    strokes.pole(picture, int(rng.uniform(350, 650)), 310, 240)
    strokes.tree(picture, rng, int(rng.uniform(180, 300)), 300, 200)
    return Place(
        "junction", "人民路路口", "Junction", strokes.finish(picture, rng), (), (310.0, 310.0, 536.0), 474.0
    )


def main_road(rng: np.random.Generator) -> Place:
    """Paint a main road along a noise barrier and a hedge."""
    picture = strokes.empty()
    strokes.sky(picture, rng, 110)
    strokes.wall(picture, rng, (0, 90, WIDTH_PX, 214), strokes.vary(rng, (150, 158, 152), 16))
    for x in range(0, WIDTH_PX, 96):
        cv2.line(picture, (x, 90), (x, 214), (112, 118, 116), 4)
    strokes.ground(picture, rng, 210, 252, strokes.vary(rng, (64, 98, 78), 8))
    strokes.ground(picture, rng, 252, 306, strokes.vary(rng, (152, 156, 158), 8))
    strokes.road(picture, rng, 310, 506)
    strokes.ground(picture, rng, 514, 540, (140, 146, 144))
    for x in (int(rng.uniform(80, 260)), int(rng.uniform(660, 860))):
        strokes.tree(picture, rng, x, 248, 210)
    return Place(
        "main-road", "解放大道", "Main road", strokes.finish(picture, rng), (), (304.0, 304.0), 482.0
    )


PAINTERS: dict[str, Callable[[np.random.Generator], Place]] = {
    "yard": yard, "lane": lane, "shops": shops, "plaza": plaza, "gate": gate, "junction": junction,
    "main-road": main_road,
}  # fmt: skip

SUITABLE: dict[Kind, tuple[str, ...]] = {
    Kind.FIRE: ("yard", "lane", "shops", "plaza"),
    Kind.SMOKE: ("lane", "yard", "plaza"),
    Kind.CROWD: ("plaza", "gate", "yard"),
    Kind.TRAFFIC: ("junction", "main-road", "shops"),
}
