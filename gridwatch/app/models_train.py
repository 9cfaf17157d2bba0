# SPDX-License-Identifier: AGPL-3.0-or-later
"""`gridwatch models train`: bars while it trains, one line for every score on val."""

import os
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from rich.console import Console
from rich.progress import TaskID, TextColumn

from gridwatch.app.bars import progress_bars
from gridwatch.core.errors import InputError
from models.errors import TrainingError

NEEDED = ("torch", "ultralytics", "safetensors", "nncf", "onnx")
ULTRALYTICS = {"YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false"}
# Freed activations go back to the allocator, not to the kernel: 10 to 20 % of a step on a CPU.
ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": "4000000000",
    "MALLOC_TRIM_THRESHOLD_": "8000000000",
    "MALLOC_TOP_PAD_": "300000000",
    "OMP_WAIT_POLICY": "PASSIVE",  # a thread that waits leaves its core to the others
}


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """What the command line says; None leaves a choice to the recipe."""

    data: Path
    weights: Path
    out: Path
    recipe: str = "cpu"
    seeds: tuple[int, ...] = (7, 8)
    iterations: int | None = None
    counter_iterations: int | None = None
    every: int = 1
    resume: bool = False


def train_models(options: TrainOptions) -> int:
    """Train, and say where the files are; return 0, or 1 when a run ended without a result.

    Raises:
        InputError: a package, a picture or a weights file is missing.
    """
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise InputError(
            f"training needs {', '.join(missing)}: install it from gridwatch's own folder with `pip install '.[train]'`"
        )
    os.environ.update({name: value for name, value in ALLOCATOR.items() if name not in os.environ})
    _quiet(options.out)
    from models.training.job import Job  # noqa: PLC0415
    from models.training.recipes import make_recipes  # noqa: PLC0415  torch is an extra
    from models.training.train import train  # noqa: PLC0415

    recipes = make_recipes(options.recipe, options.weights, options.seeds, options.iterations)
    counted = 2400 if options.counter_iterations is None else options.counter_iterations
    job = Job(options.data, options.weights, options.out, recipes, counted, options.every, options.resume)
    console = Console(stderr=True)
    with progress_bars(TextColumn("{task.fields[said]}"), console=console) as progress:
        bars: dict[str, TaskID] = {}

        def report(part: str, at: int, many: int, said: str) -> None:
            if part not in bars:
                bars[part] = progress.add_task(part, total=many, said="")
            progress.update(bars[part], completed=at, total=many, said=said)
            if said.startswith(("val", "chosen", "self-training")):
                progress.console.print(f"{part}: {at}/{many} {said}", markup=False, highlight=False)

        try:
            train(job, report)
        except TrainingError as error:
            console.print(str(error), markup=False, style="red")
            return 1
    Console().print(
        f"Written to {options.out}: gridwatch.onnx, gridwatch-int8.xml and .bin, gridwatch.safetensors, curves.png. "
        "Score them with `gridwatch models evaluate` before they replace others (docs/training.md).",
        markup=False,
    )
    return 0


def _quiet(out: Path) -> None:
    """Keep Ultralytics from asking the network, installing packages and writing into the home folder."""
    folder = out / "ultralytics"
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in {**ULTRALYTICS, "YOLO_CONFIG_DIR": str(folder.absolute())}.items():
        os.environ.setdefault(name, value)
