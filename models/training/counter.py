# SPDX-License-Identifier: AGPL-3.0-or-later
"""Trains the crowd counter on the people part's trunk, which stays as it is.

Few pictures have every head marked. So persons that the people part is sure of stand for heads where people are sparse,
and places where it sees nobody teach that vehicles, lamps and leaves are no heads.
"""

import copy
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  torch's own usage
from numpy.typing import NDArray
from torch import Tensor, nn
from ultralytics.nn.tasks import DetectionModel

from gridwatch.core.geometry import Float32
from models.errors import WeightsError
from models.training.nets import COUNTED_LAYERS, Counter, State, coco_detector, counter, run_layers
from models.training.pictures import read_boxes
from models.training.validate import find

CROP_PX, CELL_PX = 384, 8
BATCH = 8
HEAD_SHARE = 0.12  # of a person's height: where the head's middle is, below the box's top
PERSON = 0  # COCO's
SURE, NOBODY = 0.4, 0.1
Report = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """A picture (h, w, 3) uint8 BGR, the heads in it (n, 2) pixels, how often it is drawn, and how far it is enlarged."""

    bgr: NDArray[np.uint8]
    heads: Float32
    weight: float
    largest: float


def read_scenes(root: Path, people: State, seed: int, *, others: int = 500) -> list[Scene]:
    """Read everything that the counter learns from; `others` pictures are labelled by the people part itself."""
    crowd = root / "crowd/images"
    scenes = [_marked(file, 9.0, 3.2) for file in sorted(crowd.glob("sht_*"))]
    scenes += [_marked(file, 0.9, 2.2) for file in sorted(crowd.glob("cust_train*"))]
    scenes += [_street(root, file) for file in sorted((root / "street/images/train").iterdir())]
    files = [
        file
        for folder in ("firesmoke/images/train", "negatives_video/images")
        for file in sorted((root / folder).iterdir())
    ]
    detector = coco_detector(people)
    chosen = np.random.default_rng(seed).permutation(len(files))[:others]
    seen = (_seen(files[at], detector) for at in chosen)
    return scenes + [scene for scene in seen if scene is not None]


def check_scenes(root: Path) -> None:
    """Look whether every marked picture has its heads.

    Raises:
        WeightsError: a file with points is missing or broken, or there is no marked picture at all.
    """
    files = [file for name in ("sht_*", "cust_train*") for file in sorted((root / "crowd/images").glob(name))]
    if not files:
        raise WeightsError("no crowd pictures with heads are there", file=root / "crowd/images")
    for file in files:
        _points(file)


def _points(file: Path) -> Float32:
    marks = file.parents[1] / "points" / f"{file.stem}.json"
    try:
        points = json.loads(marks.read_text(encoding="utf-8"))["points"]
        return np.array(points, np.float32).reshape(-1, 2)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError("is no file of head points", file=marks) from error


def _read(file: Path) -> NDArray[np.uint8]:
    image: Any = cv2.imread(str(file), cv2.IMREAD_COLOR)
    if image is None:
        raise WeightsError("is no picture that can be read", file=file)
    return image


def _marked(file: Path, weight: float, largest: float) -> Scene:
    return Scene(_read(file), _points(file), weight, largest)


def _street(root: Path, file: Path) -> Scene:
    image = _read(file)
    boxes = read_boxes(root / "street/labels/train" / f"{file.stem}.txt", image.shape[1], image.shape[0])
    return Scene(image, _heads(boxes[boxes[:, 0] == PERSON, 1:]), 0.25, 2.2)


def _seen(file: Path, detector: DetectionModel) -> Scene | None:
    image = _read(file)
    found = find(detector, image, 640)
    persons = found.kind == PERSON
    if ((found.confidence > NOBODY) & (found.confidence < SURE) & persons).any():
        return None  # who may be there must be neither taught nor denied
    return Scene(image, _heads(found.xyxy[persons & (found.confidence >= SURE)]), 0.03, 2.2)


def _heads(xyxy: Float32) -> Float32:
    tall = xyxy[:, 3] - xyxy[:, 1]
    return np.stack([(xyxy[:, 0] + xyxy[:, 2]) / 2, xyxy[:, 1] + HEAD_SHARE * tall], 1).astype(np.float32)


def crop(scene: Scene, rng: np.random.Generator) -> tuple[NDArray[np.uint8], Float32]:
    """Return a crop (384, 384, 3) BGR and persons per cell of 8×8 pixels (48, 48)."""
    height, width = scene.bgr.shape[:2]
    scale = CROP_PX / max(height, width) * math.exp(rng.uniform(math.log(0.8), math.log(scene.largest)))
    middle = (rng.uniform(0.15, 0.85) * width, rng.uniform(0.15, 0.85) * height)
    matrix = cv2.getRotationMatrix2D(middle, rng.uniform(-5, 5), scale)
    matrix[:, 2] += np.array([CROP_PX / 2 - middle[0], CROP_PX / 2 - middle[1]])
    image: Any = scene.bgr
    if scale < 0.6:  # noqa: PLR2004  linear sampling would skip pixels
        image = cv2.GaussianBlur(image, (0, 0), 0.45 / scale)
    image = cv2.warpAffine(image, matrix, (CROP_PX, CROP_PX), flags=cv2.INTER_LINEAR, borderValue=(114,) * 3)
    heads = scene.heads @ matrix[:, :2].T + matrix[:, 2]
    if rng.random() < 0.5:  # noqa: PLR2004
        image = image[:, ::-1]
        heads[:, 0] = CROP_PX - 1 - heads[:, 0]
    inside = ((heads >= 0) & (heads < CROP_PX)).all(1)
    cells = np.zeros((CROP_PX // CELL_PX,) * 2, np.float32)
    at = (heads[inside] / CELL_PX).astype(int)
    np.add.at(cells, (at[:, 1], at[:, 0]), 1)
    return _expose(image, rng), cv2.GaussianBlur(cells, (0, 0), 0.8)


def _expose(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    steps = np.arange(256, dtype=np.float32) / 255
    table = 255 * steps ** math.exp(rng.uniform(-0.3, 0.3)) * math.exp(rng.uniform(-0.3, 0.2))
    out: Any = cv2.LUT(np.ascontiguousarray(image), table.clip(0, 255).astype(np.uint8))
    if rng.random() < 0.2:  # noqa: PLR2004
        out = cv2.cvtColor(cv2.cvtColor(out, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    if rng.random() < 0.25:  # noqa: PLR2004
        out = cv2.GaussianBlur(out, (0, 0), rng.uniform(0.5, 1.4))
    if rng.random() < 0.3:  # noqa: PLR2004
        noise = rng.normal(0, rng.uniform(0, 10), out.shape)
        out = (out + noise).clip(0, 255).astype(np.uint8)
    return out


def loss_of(density: Tensor, truth: Tensor) -> Tensor:
    """Return the loss of (B, 1, rows, columns): cells, sums over 2, 4 and 12 cells, relative error of the whole."""
    loss = 20 * F.mse_loss(density, truth)
    for side in (2, 4, 12):
        sums = [side * side * F.avg_pool2d(field, side) for field in (density, truth)]
        loss = loss + F.smooth_l1_loss(*sums, beta=0.5) / side
    counted, there = density.sum((1, 2, 3)), truth.sum((1, 2, 3))
    return loss + ((counted - there).abs() / (there + 10)).mean()


def train_counter(
    scenes: list[Scene],
    people: State,
    start: State | None,
    report: Report,
    *,
    iterations: int = 2400,
    seed: int = 3,
) -> Counter:
    """Train and return the averaged counter; from `start` where given, at a lower rate."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    trunk = coco_detector(people).to(memory_format=torch.channels_last)
    model = counter(start).to(memory_format=torch.channels_last)
    average = copy.deepcopy(model).eval()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0, weight_decay=1e-3)
    top = 2e-3 if start is None else 5e-4
    weights = np.array([scene.weight for scene in scenes])
    total = 0.0
    for step in range(iterations):
        for group in optimizer.param_groups:
            group["lr"] = (
                top * min(1, step / 100) * (0.01 + 0.495 * (1 + math.cos(math.pi * step / iterations)))
            )
        drawn = rng.choice(len(scenes), BATCH, p=weights / weights.sum())
        total += _learn(trunk, model, optimizer, [crop(scenes[at], rng) for at in drawn])
        _average(average, model, min(0.998, 1 - 1 / (step + 1)))
        if (step + 1) % 100 == 0:
            report(step + 1, iterations, f"loss {total / 100:.3f}")
            total = 0.0
    return average


def _learn(
    trunk: DetectionModel, model: Counter, optimizer: torch.optim.Optimizer, crops: list[tuple[Any, Float32]]
) -> float:
    pictures = torch.from_numpy(np.stack([image for image, _ in crops])[..., ::-1].copy())
    images = pictures.permute(0, 3, 1, 2).float().div_(255).contiguous(memory_format=torch.channels_last)
    truth = torch.from_numpy(np.stack([cells for _, cells in crops]))[:, None]
    with torch.no_grad():
        layers = trunk_layers(trunk, images)
    loss = loss_of(model.train()(layers), truth)
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 5.0)
    optimizer.step()
    return float(loss.detach())


def trunk_layers(trunk: DetectionModel, images: Tensor) -> dict[int, Tensor]:
    """Return the layers that the counter reads, without running the rest of the network."""
    return run_layers(trunk, images, COUNTED_LAYERS, until=max(COUNTED_LAYERS))[1]


def _average(average: nn.Module, model: nn.Module, keep: float) -> None:
    with torch.no_grad():
        for mine, theirs in zip(average.state_dict().values(), model.state_dict().values(), strict=True):
            if mine.is_floating_point():
                mine.lerp_(theirs, 1 - keep)
            else:
                mine.copy_(theirs)
