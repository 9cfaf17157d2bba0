# SPDX-License-Identifier: AGPL-3.0-or-later
"""Repaints the photograph's bus where people and bollards hide it, and takes its lettering off.

All coordinates are pixels of the photograph (810 × 1080). What comes out is good enough at half that size.
"""

import cv2
import numpy as np

from gridwatch.simulator.scenes.canvas import Colour, Picture, fade, fill

_BLUE_TOP: Colour = (176, 92, 18)
_BLUE_LOW: Colour = (150, 74, 12)
_SKIRT: Colour = (98, 108, 108)
_GLASS: Colour = (44, 38, 34)


def repaint_bus(photograph: Picture) -> Picture:
    """Return a copy of the photograph with a whole, unlettered bus in it."""
    picture = photograph.copy()
    _paint_side(picture)
    _paint_windows(picture)
    _paint_front(picture)
    _paint_wheels(picture, photograph)
    return picture


def _stretch(
    picture: Picture, source: tuple[int, int], rows: tuple[int, int], columns: tuple[int, int]
) -> None:
    """Fill `rows` × `columns` with the source rows of the same columns, drawn out downwards."""
    strip = picture[source[0] : source[1], columns[0] : columns[1]]
    size = (columns[1] - columns[0], rows[1] - rows[0])
    picture[rows[0] : rows[1], columns[0] : columns[1]] = cv2.resize(strip, size)


def _panel(picture: Picture, points: list[tuple[int, int]], upper: Colour, lower: Colour) -> None:
    """Fill a polygon with a vertical gradient."""
    top, bottom = min(y for _, y in points), max(y for _, y in points)
    part = picture[top : bottom + 1]
    painted = part.copy()
    fade(painted, 0, len(part), upper, lower)
    mask = np.zeros(part.shape[:2], np.uint8)
    cv2.fillPoly(mask, [np.array(points, np.int32) - (0, top)], 255)
    part[mask > 0] = painted[mask > 0]


def _paint_side(picture: Picture) -> None:
    blue = [
        (345, 515),
        (395, 530),
        (540, 520),
        (690, 510),
        (775, 500),
        (800, 495),
        (798, 610),
        (690, 612),
        (545, 637),
        (400, 658),
        (345, 640),
    ]
    _panel(picture, blue, _BLUE_TOP, _BLUE_LOW)
    _panel(
        picture,
        [
            (345, 640),
            (400, 656),
            (545, 635),
            (690, 610),
            (798, 604),
            (790, 645),
            (690, 655),
            (545, 673),
            (400, 700),
            (345, 705),
        ],
        _SKIRT,
        (80, 88, 88),
    )
    cv2.line(picture, (545, 522), (545, 670), (110, 60, 16), 2, cv2.LINE_AA)
    cv2.line(picture, (400, 657), (690, 611), (70, 50, 30), 2, cv2.LINE_AA)


def _paint_windows(picture: Picture) -> None:
    fill(picture, [(84, 264), (114, 264), (114, 280), (84, 280)], (214, 206, 208))
    for points in (
        [(410, 322), (500, 326), (500, 350), (410, 350)],
        [(538, 323), (778, 328), (776, 356), (545, 354)],
    ):
        fill(picture, points, _GLASS)
    _panel(picture, [(585, 385), (765, 392), (768, 500), (690, 508), (585, 512)], (52, 46, 40), (40, 34, 30))
    cv2.line(picture, (676, 340), (684, 508), (70, 66, 60), 2, cv2.LINE_AA)
    _panel(picture, [(750, 392), (775, 392), (778, 498), (750, 502)], (48, 42, 38), (38, 34, 30))
    fill(picture, [(774, 330), (798, 332), (799, 498), (780, 500)], (168, 96, 28))


def _paint_front(picture: Picture) -> None:
    _stretch(picture, (366, 396), (396, 552), (40, 206))
    _stretch(picture, (380, 404), (404, 512), (230, 346))
    _panel(
        picture,
        [(22, 548), (225, 540), (225, 512), (350, 510), (372, 520), (372, 640), (225, 690), (24, 690)],
        _BLUE_TOP,
        _BLUE_LOW,
    )
    fill(picture, [(24, 546), (225, 535), (228, 552), (24, 562)], (30, 26, 24))
    fill(picture, [(228, 300), (236, 300), (238, 700), (230, 700)], (120, 62, 14))
    _panel(picture, [(22, 676), (300, 676), (300, 720), (60, 718), (26, 708)], _SKIRT, (70, 76, 76))
    for x, y in ((46, 622), (196, 622)):
        cv2.ellipse(picture, (x, y), (15, 20), 0, 0, 360, (190, 190, 186), -1, cv2.LINE_AA)
        cv2.ellipse(picture, (x, y), (9, 12), 0, 0, 360, (235, 235, 232), -1, cv2.LINE_AA)
    _panel(picture, [(44, 322), (150, 318), (150, 366), (46, 372)], (36, 30, 28), (30, 26, 24))


def _paint_wheels(picture: Picture, photograph: Picture) -> None:
    """Make a whole wheel from the visible half of the rear one; the front one is the same, larger."""
    half = photograph[545:678, 684:722]
    wheel = np.hstack([half, half[:, ::-1]])
    for centre, height in (((722, 612), 133), ((338, 664), 158)):
        width = int(wheel.shape[1] * height / wheel.shape[0])
        size = (width, height)
        patch = cv2.resize(wheel, size)
        mask = np.zeros((height, width), np.uint8)
        cv2.ellipse(mask, (width // 2, height // 2), (width // 2 - 1, height // 2 - 2), 0, 0, 360, 255, -1)
        top, left = centre[1] - height // 2, centre[0] - width // 2
        place = picture[top : top + height, left : left + width]
        place[mask > 0] = patch[mask > 0]
