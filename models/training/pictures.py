# SPDX-License-Identifier: AGPL-3.0-or-later
"""The pictures that the fire part learns from, in memory, with what is known of each.

What is not known is not taken for absent: of a picture labelled "fire" without boxes neither class's boxes are known,
only that there is fire; of `partial` pictures the flames are complete and the smoke is not.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from gridwatch.core.geometry import Float32
from models.errors import WeightsError
from models.evaluation.datasets import read_box
from models.evaluation.manifest import read_lines

LONGEST_PX = 640  # kept at most this large: 4,000 pictures are 3 GB
FIRE, SMOKE = 0, 1
_SUFFIXES = (".jpg", ".jpeg", ".png")

YES, NO, UNSURE = 1.0, 0.0, np.nan


@dataclass(slots=True, eq=False)
class Picture:
    """One picture to learn from. `boxes`, `known` and `present` change when self-training fills them.

    Attributes:
        bgr: (h, w, 3) uint8, the long side at most 640.
        boxes: (n, 5) float32: class (0 fire, 1 smoke), x0, y0, x1, y1 in pixels of `bgr`.
        known: (2,) float32, 1 where all boxes of that class are in `boxes`.
        present: (2,) float32, whether the class is in the picture at all: 1, 0, or NaN where nobody said.
        source: the folder that it came from; `weight` is how often it is drawn, relative to others.
    """

    name: str
    bgr: NDArray[np.uint8]
    boxes: Float32
    known: Float32
    present: Float32
    source: str
    weight: float = 1.0

    @property
    def is_clean(self) -> bool:
        """Whether it certainly holds neither fire nor smoke."""
        return bool((self.present == NO).all())


@dataclass(frozen=True, slots=True)
class _Source:
    """A folder of pictures: labels beside them (None: as `known` and `present` say), and how often it is drawn."""

    folder: str
    labels: str | None
    known: tuple[float, float]
    present: tuple[float, float]
    weight: float = 1.0


_CLEAN = ((1.0, 1.0), (NO, NO))
_TRAIN = (
    _Source("firesmoke/images/train", "firesmoke/labels/train", (1, 1), (UNSURE, UNSURE)),
    _Source("firesmoke_extra/images/train", "firesmoke_extra/labels/train", (1, 1), (UNSURE, UNSURE)),
    _Source("firesmoke_extra/partial/images", "firesmoke_extra/partial/labels", (1, 0), (UNSURE, UNSURE)),
    _Source("firesmoke_extra/negatives/images", None, *_CLEAN),
    _Source("firesmoke_extra/imagelevel/fire", None, (0, 0), (YES, UNSURE), 0.7),
    _Source("firesmoke_extra/imagelevel/smoke", None, (0, 0), (UNSURE, YES), 0.7),
    _Source("firesmoke_imagelevel/fire", None, (0, 0), (YES, UNSURE), 0.7),
    _Source("fire_video/images", None, (0, 0), (UNSURE, UNSURE), 0.5),
    # Frames of one clip resemble each other: a third of the weight of a photograph.
    _Source("negatives_video/images", None, *_CLEAN, weight=0.35),
    _Source("street/images/train", None, *_CLEAN, weight=0.5),
    _Source("street/images/cam", None, *_CLEAN, weight=0.7),
    _Source("crowd/images", None, *_CLEAN, weight=0.3),
)
PLAIN = 32  # generated pictures without anything in them
_VAL = (_Source("firesmoke/images/val", "firesmoke/labels/val", (1, 1), (UNSURE, UNSURE)),)


def read_training(root: Path, *, every: int = 1) -> list[Picture]:
    """Read what may be learned from; `every` n-th picture only, for a try.

    Raises:
        WeightsError: a folder is missing, or a picture or label cannot be read.
    """
    return _read(root, _TRAIN, every) + plain_surfaces(PLAIN // every)


def read_validation(root: Path, *, every: int = 1) -> list[Picture]:
    """Read what checkpoints are chosen by. The test split is read by `models evaluate` alone.

    Raises:
        WeightsError: as above.
    """
    return _read(root, _VAL, every)


def check_folders(root: Path) -> None:
    """Look whether all folders of pictures are there.

    Raises:
        WeightsError: one is missing.
    """
    for source in (*_TRAIN, *_VAL):
        folder = root / source.folder
        if not folder.is_dir():
            raise WeightsError("the training pictures are not there", file=folder)


def plain_surfaces(many: int) -> list[Picture]:
    """Return walls, skies and dark rooms: even surfaces and soft gradients, which no photographer takes and cameras see.

    The first network called one white pixel, enlarged to fill its input, smoke (0.47).
    """
    rng = np.random.default_rng(many)
    pictures = []
    for number in range(many):
        corners = rng.uniform(0, 255, 3) + rng.normal(0, 25 * (number % 3), (2, 2, 3))
        surface: Any = cv2.resize(
            corners.clip(0, 255).astype(np.float32), (640, 480), interpolation=cv2.INTER_LINEAR
        )
        bgr = surface.clip(0, 255).astype(np.uint8)
        nothing = np.zeros((0, 5), np.float32)
        pictures.append(
            Picture(
                f"plain/{number}", bgr, nothing, np.ones(2, np.float32), np.zeros(2, np.float32), "plain", 0.5
            )
        )
    return pictures


def _read(root: Path, sources: tuple[_Source, ...], every: int) -> list[Picture]:
    check_folders(root)
    jobs = list(_jobs(root, sources))[::every]
    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(lambda job: _picture(root, *job), jobs))


def _jobs(root: Path, sources: tuple[_Source, ...]) -> Iterator[tuple[_Source, Path]]:
    for source in sources:
        folder = root / source.folder
        for file in sorted(folder.iterdir()):
            # Of the crowd pictures those named for tests stay unseen, as they are for the counter.
            if file.suffix.lower() in _SUFFIXES and not file.name.startswith(("cust_test", "shta_")):
                yield source, file


def _picture(root: Path, source: _Source, file: Path) -> Picture:
    image: Any = cv2.imread(str(file), cv2.IMREAD_COLOR)
    if image is None:
        raise WeightsError("is no picture that can be read", file=file)
    height, width = image.shape[:2]
    scale = min(1.0, LONGEST_PX / max(width, height))
    if scale < 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    boxes = np.zeros((0, 5), np.float32)
    known, present = np.array(source.known, np.float32), np.array(source.present, np.float32)
    if source.labels is not None:
        boxes = read_boxes(root / source.labels / f"{file.stem}.txt", image.shape[1], image.shape[0])
        for kind in (FIRE, SMOKE):
            there = bool((boxes[:, 0] == kind).any())
            present[kind] = YES if there else NO if known[kind] else UNSURE
    return Picture(str(file.relative_to(root)), image, boxes, known, present, source.folder, source.weight)


def read_boxes(file: Path, width: int, height: int) -> Float32:
    """Read YOLO labels as (n, 5): class, x0, y0, x1, y1 in pixels; none where there is no file.

    Raises:
        DatasetError: a line that is no label, with its number.
    """
    lines = read_lines(file) if file.exists() else []
    rows = [read_box(line, file, number) for number, line in enumerate(lines, 1) if line.strip()]
    sides = np.array([1, width, height, width, height], np.float32)
    return np.array([(kind, *xyxy) for kind, xyxy in rows], np.float32).reshape(-1, 5) * sides
