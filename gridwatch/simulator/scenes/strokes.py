# SPDX-License-Identifier: AGPL-3.0-or-later
"""What places are painted with: walls, windows, paving, roads, trees, bins. Everything is drawn from a generator."""

import cv2
import numpy as np

from gridwatch.simulator.scenes.canvas import (
    HEIGHT_PX,
    WIDTH_PX,
    Colour,
    Picture,
    fade,
    fill,
    shade,
    soft_noise,
)  # fmt: skip


def empty() -> Picture:
    """Return a black picture of the scenes' size."""
    return np.zeros((HEIGHT_PX, WIDTH_PX, 3), np.uint8)


def vary(rng: np.random.Generator, colour: Colour, by: float = 10) -> Colour:
    """Return a colour near `colour`."""
    shift = rng.normal(0, by / 2)
    b, g, r = (float(np.clip(value + shift + rng.normal(0, by / 4), 0, 255)) for value in colour)
    return b, g, r


def lighter(colour: Colour, factor: float) -> Colour:
    """Return a colour times `factor`."""
    b, g, r = (min(max(value * factor, 0.0), 255.0) for value in colour)
    return b, g, r


def wall(
    picture: Picture,
    rng: np.random.Generator,
    box: tuple[int, int, int, int],
    colour: Colour,
    *,
    stains: float = 3,
) -> None:
    """Paint a plastered wall (left, top, right, bottom), a little darker towards the ground and stained; nothing if empty."""
    left, top, right, bottom = box
    if left >= right:
        return
    part = picture[top:bottom, left:right]
    fade(part, 0, bottom - top, lighter(colour, 1.03), lighter(colour, 0.9))
    spots = soft_noise(rng, bottom - top, right - left, 40)[..., None] * stains
    part[...] = np.clip(part + spots, 0, 255).astype(np.uint8)


def bricks(picture: Picture, box: tuple[int, int, int, int], high_px: int, joint: Colour) -> None:
    """Draw the joints of a brick wall."""
    left, top, right, bottom = box
    for row, y in enumerate(range(top, bottom, high_px)):
        cv2.line(picture, (left, y), (right, y), joint, 1)
        for x in range(left + (row % 2) * high_px, right, 2 * high_px):
            cv2.line(picture, (x, y), (x, min(y + high_px, bottom)), joint, 1)


def window(picture: Picture, rng: np.random.Generator, box: tuple[int, int, int, int], frame: Colour) -> None:
    """Paint a window with a sill."""
    left, top, right, bottom = box
    cv2.rectangle(picture, (left - 3, top - 3), (right + 3, bottom + 3), frame, -1)
    glass = vary(rng, (92, 84, 72), 24)
    part = picture[top:bottom, left:right]
    fade(part, 0, bottom - top, lighter(glass, 1.25), lighter(glass, 0.75))
    middle = (left + right) // 2
    cv2.line(picture, (middle, top), (middle, bottom), frame, 2)
    cv2.line(picture, (left - 6, bottom + 5), (right + 6, bottom + 5), lighter(frame, 0.8), 3)
    shade(
        picture,
        [(left - 6, bottom + 7), (right + 6, bottom + 7), (right + 6, bottom + 13), (left - 6, bottom + 13)],
        0.9,
        2,
    )


def ground(picture: Picture, rng: np.random.Generator, top_px: int, bottom_px: int, colour: Colour) -> None:
    """Paint plain ground from one row to another: nearer is a little lighter, with grain and worn patches."""
    fade(picture, top_px, bottom_px, lighter(colour, 0.9), lighter(colour, 1.04))
    part = picture[top_px:bottom_px]
    rows = bottom_px - top_px
    grain = rng.normal(0, 2.2, (rows, WIDTH_PX)) + soft_noise(rng, rows, WIDTH_PX, 60) * 2.5
    part[...] = np.clip(part + grain[..., None], 0, 255).astype(np.uint8)


def paving(picture: Picture, top_px: int, bottom_px: int, colour: Colour, slabs: int = 16) -> None:
    """Draw the joints of paving in perspective: lines towards a vanishing point above the picture's middle."""
    lines = picture.copy()
    for step in range(-slabs * 2, slabs * 2 + 1):
        x_low, x_top = (
            WIDTH_PX // 2 + step * WIDTH_PX // slabs,
            WIDTH_PX // 2 + step * WIDTH_PX * 6 // (slabs * 10),
        )
        cv2.line(lines, (x_top, top_px), (x_low, bottom_px), colour, 1, cv2.LINE_AA)
    y, gap = float(top_px), 13.0
    while y < bottom_px:
        cv2.line(lines, (0, int(y)), (WIDTH_PX, int(y)), colour, 1)
        y, gap = y + gap, gap * 1.13
    picture[top_px:bottom_px] = cv2.addWeighted(lines, 0.5, picture, 0.5, 0)[top_px:bottom_px]


def road(picture: Picture, rng: np.random.Generator, top_px: int, bottom_px: int) -> None:
    """Paint a road across the picture with kerbs and a broken middle line."""
    ground(picture, rng, top_px, bottom_px, vary(rng, (88, 86, 84), 10))
    for y, thick in ((top_px - 3, 5), (bottom_px + 3, 8)):
        cv2.line(picture, (0, y), (WIDTH_PX, y), (150, 152, 152), thick)
        cv2.line(picture, (0, y + thick // 2 + 1), (WIDTH_PX, y + thick // 2 + 1), (74, 74, 74), 2)
    middle = top_px + int((bottom_px - top_px) * 0.42)
    start = int(rng.integers(0, 120))
    for x in range(-start, WIDTH_PX, 130):
        cv2.line(picture, (x, middle), (x + 62, middle), (176, 178, 178), 4, cv2.LINE_AA)


def tree(picture: Picture, rng: np.random.Generator, x: int, base_px: int, tall_px: int) -> None:
    """Paint a tree with its shadow."""
    crown = int(tall_px * 0.34)
    fill(
        picture,
        [
            (x - 5, base_px),
            (x + 5, base_px),
            (x + 3, base_px - tall_px // 2),
            (x - 3, base_px - tall_px // 2),
        ],
        (48, 62, 74),
    )
    leaf = vary(rng, (52, 92, 66), 14)
    for _ in range(900):  # small hard leaves: a crown of soft blobs looks like smoke to a network
        angle, out = rng.uniform(0, 2 * np.pi), crown * np.sqrt(rng.uniform(0, 1))
        spot = (int(x + out * np.cos(angle)), int(base_px - tall_px * 0.68 + out * 0.85 * np.sin(angle)))
        lit = 0.8 - 0.25 * np.sin(angle) * out / crown + rng.normal(0, 0.22)
        cv2.ellipse(picture, spot, (6, 3), rng.uniform(0, 180), 0, 360, lighter(leaf, lit), -1, cv2.LINE_AA)


def waste_bin(picture: Picture, rng: np.random.Generator, x: int, base_px: int) -> None:
    """Paint two wheeled bins and a few flattened boxes at their feet."""
    wide, tall = 34, 56
    shade(
        picture,
        [(x - 52, base_px - 4), (x + 52, base_px - 4), (x + 70, base_px + 8), (x - 40, base_px + 8)],
        0.72,
        4,
    )
    for left, colour in ((x - wide - 3, (112, 92, 58)), (x + 3, (78, 98, 70))):
        body = vary(rng, colour, 14)
        fill(
            picture,
            [
                (left, base_px - tall),
                (left + wide, base_px - tall),
                (left + wide - 4, base_px),
                (left + 4, base_px),
            ],
            body,
        )
        fill(
            picture,
            [
                (left - 2, base_px - tall - 7),
                (left + wide + 2, base_px - tall - 7),
                (left + wide + 2, base_px - tall),
                (left - 2, base_px - tall),
            ],
            lighter(body, 1.25),
        )
    card = vary(rng, (108, 138, 158), 12)
    fill(
        picture,
        [(x - 14, base_px + 3), (x + 34, base_px + 1), (x + 40, base_px + 9), (x - 10, base_px + 12)],
        card,
    )


def pole(picture: Picture, x: int, base_px: int, tall_px: int) -> None:
    """Paint a lamp post."""
    cv2.line(picture, (x, base_px), (x, base_px - tall_px), (96, 98, 98), 5, cv2.LINE_AA)
    cv2.line(picture, (x, base_px - tall_px), (x + 46, base_px - tall_px - 8), (96, 98, 98), 4, cv2.LINE_AA)
    cv2.ellipse(
        picture, (x + 52, base_px - tall_px - 8), (14, 4), 0, 0, 360, (186, 190, 190), -1, cv2.LINE_AA
    )


def sky(picture: Picture, rng: np.random.Generator, bottom_px: int) -> None:
    """Paint a hazy day's sky."""
    fade(picture, 0, bottom_px, vary(rng, (214, 204, 192), 8), (222, 220, 214))


def finish(picture: Picture, rng: np.random.Generator, light: Colour = (1.0, 1.0, 1.0)) -> Picture:
    """Return the picture as a cheap lens and sensor would give it: slightly soft, grainy, darker in the corners."""
    soft = cv2.GaussianBlur(picture, (0, 0), 0.7).astype(np.float32)
    x = np.linspace(-1, 1, WIDTH_PX, dtype=np.float32)[None, :]
    y = np.linspace(-1, 1, HEIGHT_PX, dtype=np.float32)[:, None]
    corners = (1 - 0.13 * (x * x + y * y) / 2)[..., None]
    grain = rng.normal(0, 1.2, (HEIGHT_PX, WIDTH_PX, 1)).astype(np.float32)
    lit = soft * corners * np.array(light, np.float32) + grain
    return np.ascontiguousarray(np.clip(lit, 0, 255).astype(np.uint8))
