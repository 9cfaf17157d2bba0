# SPDX-License-Identifier: AGPL-3.0-or-later
"""From starting weights and pictures to the files that ship. Tells its progress; prints nothing itself.

    two fire runs side by side (one core each) ─ best, mean ─┐
    the counter on the people part's trunk ──────────────────┼─ join ─ ONNX, INT8, state dict, curves
    the people part, unchanged ──────────────────────────────┘

Two runs of one thread learn more from two cores than one run of two threads, whose threads wait for each other; and the
mean of two that started from the same weights is as good as the better one or better than both (M. Wortsman et al.,
"Model soups", ICML 2022).
"""

import json
import multiprocessing
import queue
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from models.errors import TrainingError
from models.training.counter import read_scenes, train_counter
from models.training.curves import draw_curves
from models.training.export import export_onnx
from models.training.job import DENSITY, PEOPLE, Job, check, folder_of
from models.training.nets import fire_detector, joined_state, load_state, save_state
from models.training.orphans import die_with_parent
from models.training.pictures import read_training, read_validation
from models.training.quantise import CALIBRATION_PICTURES, quantise
from models.training.recipes import Recipe
from models.training.run import Run
from models.training.validate import Score, score

Report = Callable[[str, int, int, str], None]  # which part, iteration, of how many, what to say
SIZES_PX = (512, 640)  # what figures are stated at, and what the product looks with
CHOSEN = "fire.safetensors"
COUNTER = "density.safetensors"
STATE, ONNX, INT8 = "gridwatch.safetensors", "gridwatch.onnx", "gridwatch-int8.xml"


def train(job: Job, report: Report) -> None:
    """Do everything.

    Raises:
        WeightsError: pictures or weights to start from are missing or broken.
        TrainingError: a run ended without a result.
    """
    check(job)
    with folder_of(job):
        if not (job.resume and (job.out / CHOSEN).exists()):
            _train_fire(job, report)
        if not (job.resume and (job.out / COUNTER).exists()):
            _train_counter(job, report)
        assemble(job, report)


def _train_fire(job: Job, report: Report) -> None:
    folders = [job.out / f"fire-{recipe.seed}" for recipe in job.recipes]
    _side_by_side(job, folders, report)
    held = read_validation(job.data, every=job.every)
    states = {folder.name: load_state(folder / "best.safetensors") for folder in folders}
    start = fire_detector(load_state(job.recipes[0].start)).state_dict()
    result = choose(candidates(start, states), lambda state: _scores(state, held))
    save_state(result.state, job.out / CHOSEN)
    told = {name: [asdict(one) for one in scores] for name, scores in result.scores.items()}
    (job.out / "chosen.json").write_text(
        json.dumps({"chosen": result.name, "sizes_px": SIZES_PX, "val": told}, indent=1), encoding="utf-8"
    )
    draw_curves([folder / "scores.json" for folder in folders], job.out / "curves.png")
    report("fire", 1, 1, f"chosen: {result.name}, val at {SIZES_PX[0]} px {result.scores[result.name][0]}")


def _scores(state: dict[str, Tensor], held: Sequence[Any]) -> tuple[Score, ...]:
    model = fire_detector(state)
    return tuple(score(model, list(held), size_px) for size_px in SIZES_PX)


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """Which weights were chosen, and what all scored on val at each of `SIZES_PX`."""

    name: str
    state: dict[str, Tensor]
    scores: dict[str, tuple[Score, ...]]


def candidates(start: dict[str, Tensor], runs: dict[str, dict[str, Tensor]]) -> dict[str, dict[str, Tensor]]:
    """Return what may ship: the start, what each run came to, and the means of the runs and of them and the start."""
    out = {"start": start, **runs, "mean with start": mean_of([start, *runs.values()])}
    if len(runs) > 1:
        out["mean"] = mean_of(list(runs.values()))
    return out


def choose(
    states: dict[str, dict[str, Tensor]], judge: Callable[[dict[str, Tensor]], tuple[Score, ...]]
) -> Choice:
    """Return the weights that are best by `judge`, over all its scores."""
    scores = {name: judge(state) for name, state in states.items()}
    best = max(scores, key=lambda name: sum(one.merit for one in scores[name]))
    return Choice(best, states[best], scores)


def mean_of(states: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Return the mean of networks of one shape that were trained from the same start."""
    return {
        name: torch.stack([state[name] for state in states]).mean(0) if first.is_floating_point() else first
        for name, first in states[0].items()
    }


def _train_counter(job: Job, report: Report) -> None:
    start = load_state(job.start_of(DENSITY))
    if not job.counter_iterations:
        save_state(start, job.out / COUNTER)
        return
    people = load_state(job.start_of(PEOPLE))
    report("counter", 0, job.counter_iterations, "reading pictures")
    scenes = read_scenes(job.data, people, seed=3, others=500 // job.every)
    model = train_counter(
        scenes,
        people,
        start,
        lambda at, many, said: report("counter", at, many, said),
        iterations=job.counter_iterations,
    )
    save_state(model.state_dict(), job.out / COUNTER)


def assemble(job: Job, report: Report) -> None:
    """Join what the job's folder holds and write the files that ship."""
    out = job.out
    report("files", 0, 3, "joining")
    state = joined_state(
        load_state(job.start_of(PEOPLE)), load_state(out / CHOSEN), load_state(out / COUNTER)
    )
    save_state(state, out / STATE)
    report("files", 1, 3, "writing ONNX")
    export_onnx(state, out / ONNX)
    report("files", 2, 3, "calibrating INT8")
    pictures = read_training(job.data, every=job.every)
    step = max(1, len(pictures) // CALIBRATION_PICTURES)
    quantise(out / ONNX, out / INT8, [picture.bgr for picture in pictures[::step]])
    report("files", 3, 3, "done")


def _side_by_side(job: Job, folders: Sequence[Path], report: Report) -> None:
    context = multiprocessing.get_context("spawn")
    told: Any = context.Queue()
    runs = [
        context.Process(target=_one_run, args=(job, recipe, folder, told))
        for recipe, folder in zip(job.recipes, folders, strict=True)
    ]
    for run in runs:
        run.start()
    try:
        while any(run.is_alive() for run in runs) and not any(run.exitcode for run in runs):
            _pass_on(told, report)
        failed = next((run for run in runs if run.exitcode), None)
    finally:
        for run in runs:
            run.terminate()
            run.join()
    if failed is not None:
        raise TrainingError(
            f"a run ended with exit code {failed.exitcode}; its own words are above; --resume goes on"
        )


def _pass_on(told: Any, report: Report) -> None:
    try:
        report(*told.get(timeout=1.0))
    except queue.Empty:
        return


def _one_run(job: Job, recipe: Recipe, folder: Path, told: Any) -> None:
    die_with_parent()
    torch.set_num_threads(1)
    pictures, held = read_training(job.data, every=job.every), read_validation(job.data, every=job.every)
    part = f"fire, seed {recipe.seed}"
    resume = job.resume and (folder / "run.pt").exists()
    Run(recipe, pictures, held, folder).go(
        lambda at, many, said: told.put((part, at, many, said)), resume=resume
    )
