# SPDX-License-Identifier: AGPL-3.0-or-later
"""The pictures that all contestants see: generated places with the pinned photograph of people and a bus set into them.

No recordings of anybody's streets; with the photograph there are real things to find.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from gridwatch.simulator.scenes.city import make_demo

Picture = NDArray[np.uint8]

ASSETS = Path(__file__).resolve().parents[2] / ".venv" / "scenes" / "ultralytics" / "assets"
WIDTH_PX, HEIGHT_PX = 1920, 1080
_LAST_FRAME = 600


@dataclass(frozen=True, slots=True)
class Shape:
    """A network's input, and the pictures whose letterbox is exactly that for every contestant.

    Attributes:
        height, width: of the input, pixels.
        picture_width: of the pictures, which are 1080 high: whole, or the square in the middle.
        snug_width: of pictures that fill this input without any padding, for the comparison of boxes: Ultralytics lays a
            picture into the middle, this project at the top left, and a network's boxes move a little with the place.
    """

    height: int
    width: int
    picture_width: int
    snug_width: int

    @property
    def name(self) -> str:
        """Height and width as one word."""
        return f"{self.height}x{self.width}"


SHAPES = (Shape(384, 640, WIDTH_PX, 1800), Shape(640, 640, HEIGHT_PX, HEIGHT_PX))


def make_pictures(count: int, seed: int, assets: Path = ASSETS) -> list[Picture]:
    """Return `count` pictures (1080, 1920, 3) uint8 BGR; the same seed gives the same ones."""
    rng = np.random.default_rng(seed)
    cameras = make_demo(seed, assets=assets).cameras
    photograph = cv2.imread(str(assets / "bus.jpg"))
    pictures = []
    for number in range(count):
        place = cameras[number % len(cameras)].render(int(rng.integers(_LAST_FRAME)))
        picture = cv2.resize(place, (WIDTH_PX, HEIGHT_PX), interpolation=cv2.INTER_CUBIC)
        _set_into(picture, photograph, rng)
        pictures.append(picture)
    return pictures


def _set_into(picture: Picture, photograph: Picture, rng: np.random.Generator) -> None:
    """Paste the photograph somewhere inside the square in the middle, at 45 to 95 % of the picture's height."""
    share = rng.uniform(0.45, 0.95)
    height = int(HEIGHT_PX * share)
    width = int(photograph.shape[1] * height / photograph.shape[0])
    x = int((WIDTH_PX - HEIGHT_PX) // 2 + rng.integers(HEIGHT_PX - width + 1))
    y = int(rng.integers(HEIGHT_PX - height + 1))
    picture[y : y + height, x : x + width] = cv2.resize(
        photograph, (width, height), interpolation=cv2.INTER_AREA
    )


def cut(pictures: list[Picture], width_px: int) -> Picture:
    """Return the pictures' middle, (N, 1080, width_px, 3)."""
    first = (WIDTH_PX - width_px) // 2
    return np.stack([picture[:, first : first + width_px] for picture in pictures])
