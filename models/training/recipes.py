# SPDX-License-Identifier: AGPL-3.0-or-later
"""The recipes: everything that a training run depends on, so that a name and a seed repeat it."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from models.errors import WeightsError

# Width and height. About 230,000 pixels on a CPU; a look's own sizes on a GPU.
CPU_SIZES = ((512, 384), (512, 384), (640, 480), (640, 384), (480, 480))
GPU_SIZES = ((640, 640), (640, 480), (512, 512), (640, 384), (512, 384))


@dataclass(frozen=True, slots=True)
class Recipe:
    """One way to train the fire part.

    Attributes:
        start: the state dict to go on from (the fire part's own, or COCO's YOLOv8n, whose head starts anew).
        rate: the highest learning rate (AdamW); the trunk takes half of it.
        rise: iterations until it is reached.
        frozen: how many of the first layers stay as they are (the earliest see edges; they cost most and learn least).
        mosaic: share of samples made of four pictures.
        sizes: (width, height) of a batch, drawn anew for each.
        flame_scenes: how many flames, and as many plumes of smoke, are simulated.
        workers: processes that compose pictures.
        score_every: iterations between two looks at val.
    """

    name: str
    start: Path
    device: str
    iterations: int
    batch: int
    rate: float
    sizes: tuple[tuple[int, int], ...]
    workers: int
    seed: int = 7
    frozen: int = 0
    mosaic: float = 0.25
    rise: int = 150
    weight_decay: float = 1e-3
    flame_scenes: int = 40
    score_every: int = 200

    def fingerprint(self) -> str:
        """Return what tells this recipe from another one; where it runs and how many help does not count."""
        same = replace(self, start=Path(self.start.name), device="", workers=0)
        return hashlib.sha256(repr(asdict(same)).encode()).hexdigest()[:16]


CPU_ITERATIONS, GPU_ITERATIONS = 2600, 4000


def make_recipes(
    name: str, weights: Path, seeds: Sequence[int], iterations: int | None = None
) -> tuple[Recipe, ...]:
    """Return one recipe a seed; every second one learns at 0.6 of the rate, so that their mean is of different ones.

    Args:
        name: `cpu`: two cores, under two and a half hours; `gpu`: one GPU and 16 cores, a quarter of an hour.
        weights: the folder with the fire part's weights to go on from.
        seeds: one run for each.
        iterations: of each run; the recipe's own if None.

    Raises:
        WeightsError: there is no such recipe, or a seed is negative or given twice.
    """
    if not seeds or len(set(seeds)) != len(seeds) or min(seeds) < 0:
        raise WeightsError(
            f"seeds must be different whole numbers from 0 on, got {', '.join(map(str, seeds))}"
        )
    start = weights / "gridwatch-firesmoke.safetensors"
    if name == "cpu":
        base = Recipe(
            "cpu", start, "cpu", iterations or CPU_ITERATIONS, 16, 1.2e-4, CPU_SIZES, workers=1, frozen=3
        )
    elif name == "gpu":
        base = Recipe(
            "gpu",
            start,
            "cuda",
            iterations or GPU_ITERATIONS,
            48,
            3e-4,
            GPU_SIZES,
            workers=7,
            mosaic=0.4,
            score_every=400,
        )
    else:
        raise WeightsError(f"no recipe is called {name!r}; there are: cpu, gpu")
    rates = [base.rate * (0.6 if at % 2 else 1.0) for at in range(len(seeds))]
    return tuple(replace(base, seed=seed, rate=rate) for seed, rate in zip(seeds, rates, strict=True))
