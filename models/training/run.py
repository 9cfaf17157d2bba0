# SPDX-License-Identifier: AGPL-3.0-or-later
"""Trains the fire part: plans → samples (in worker processes) → steps → checkpoints → the best by val.

Repeatable (seeded; the same plans whatever the number of workers) and resumable: a run that was cut off goes on from its
last checkpoint. A folder holds one run: `run.pt` (what a resume needs: tensors and numbers, read without pickle's code),
`best.safetensors`, `last.safetensors`, `scores.json`.
"""

import copy
import json
import math
import multiprocessing
import pickle
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from ultralytics.nn.tasks import DetectionModel

from models.errors import WeightsError
from models.training.compose import Plan, Sample, compose
from models.training.cuttings import make_cuttings
from models.training.flames import Bank, make_bank
from models.training.nets import fire_detector, load_state, save_state
from models.training.objective import Objective, collate
from models.training.orphans import die_with_parent
from models.training.pictures import Picture
from models.training.recipes import Recipe
from models.training.selftrain import fill_labels
from models.training.validate import score

TRUNK_LAYERS = 10
AHEAD = 3  # batches being made while one is learned from
CALM_FROM = 0.75  # share of the run after which pictures are changed less and stand alone
Report = Callable[[int, int, str], None]  # iteration, of how many, what to say

_shared: dict[str, Any] = {}  # a worker's pictures and flames: inherited by fork, never pickled


@dataclass(slots=True)
class Course:
    """How far a run is, and what it scored."""

    iteration: int
    best: float
    scores: list[dict[str, Any]]


class Run:
    """One training run in a folder."""

    def __init__(self, recipe: Recipe, pictures: list[Picture], held: list[Picture], folder: Path) -> None:
        """Prepare a run; `go` starts it."""
        self._recipe, self._pictures, self._held, self._folder = recipe, pictures, held, folder
        self._device = torch.device(recipe.device)
        torch.manual_seed(recipe.seed)
        self.model = fire_detector(load_state(recipe.start)).to(
            self._device, memory_format=torch.channels_last
        )
        for layer in self.model.model[: recipe.frozen]:
            layer.requires_grad_(requires_grad=False)
        self.average = copy.deepcopy(self.model).eval().requires_grad_(False)
        self._optimizer = torch.optim.AdamW(_groups(self.model, recipe), betas=(0.9, 0.99))
        self._course = Course(0, -1.0, [])
        self._hardness = np.full(len(pictures), 0.3)

    def go(self, report: Report, *, resume: bool) -> None:
        """Train to the end of the recipe.

        Raises:
            WeightsError: a run to resume is not there or is another recipe's.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        total = self._recipe.iterations
        added = fill_labels(
            self.average, self._pictures
        )  # by the start, so that a resumed run learns the same
        if resume:
            self._resume()
        report(self._course.iteration, total, f"self-training adds {added} boxes; making flames")
        cuttings = tuple(make_cuttings(self._pictures))
        report(self._course.iteration, total, f"{len(cuttings)} flames lifted")
        bank = make_bank(self._recipe.seed, self._recipe.flame_scenes, cuttings)
        objective = Objective(self.model)
        losses = torch.zeros(len(Objective.names))
        with _Kitchen(self._recipe, self._pictures, bank) as kitchen:
            for iteration, at, samples in kitchen.batches(self._course.iteration, self._weights):
                self._course.iteration = iteration + 1
                losses += self._step(objective, samples, at)
                every = self._recipe.score_every
                if (iteration + 1) % 20 == 0:
                    report(iteration + 1, total, f"loss {losses.sum() / (iteration % every + 1):.3f}")
                if (iteration + 1) % every == 0 or iteration + 1 == total:
                    self._judge(losses / (iteration % every + 1), report)
                    losses.zero_()

    def _step(self, objective: Objective, samples: list[Sample], at: list[tuple[int, ...]]) -> Tensor:
        batch = collate(samples, self._device)
        for group in self._optimizer.param_groups:
            group["lr"] = group["top"] * _rate(self._course.iteration, self._recipe)
        self.model.train()
        self.model.model[: self._recipe.frozen].eval()  # their statistics stay too
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._device.type == "cuda"):
            parts = objective(self.model, batch)
        self._optimizer.zero_grad(set_to_none=True)
        parts.sum().backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 10.0)
        self._optimizer.step()
        _follow(self.average, self.model, self._course.iteration)
        self._remember(objective.strongest, batch.present, at)
        return parts.detach().cpu()

    def _remember(self, strongest: Tensor, present: Tensor, at: list[tuple[int, ...]]) -> None:
        """Note how strongly clean pictures were claimed: those are drawn more often."""
        claimed = strongest.sigmoid().amax(1).cpu().numpy()
        clean = (present == 0).all(1).cpu().numpy()
        for value, is_clean, chosen in zip(claimed, clean, at, strict=True):
            if is_clean and len(chosen) == 1:
                self._hardness[chosen[0]] += 0.5 * (value - self._hardness[chosen[0]])

    def _weights(self) -> np.ndarray[Any, Any]:
        base = np.array([picture.weight for picture in self._pictures])
        clean = np.array([picture.is_clean for picture in self._pictures])
        weights = np.where(clean, base * (0.35 + 2.5 * self._hardness), base)
        return weights / weights.sum()

    def _judge(self, losses: Tensor, report: Report) -> None:
        result = score(self.average, self._held)
        course = self._course
        course.scores.append(
            {
                "iteration": course.iteration,
                **asdict(result),
                "merit": result.merit,
                "losses": dict(zip(Objective.names, losses.tolist(), strict=True)),
            }
        )
        report(course.iteration, self._recipe.iterations, f"val: {result}")
        if result.merit > course.best:
            course.best = result.merit
            save_state(self.average.state_dict(), self._folder / "best.safetensors")
        save_state(self.average.state_dict(), self._folder / "last.safetensors")
        self._keep()

    def _keep(self) -> None:
        state = {
            "recipe": self._recipe.fingerprint(),
            "course": asdict(self._course),
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "hardness": torch.from_numpy(self._hardness),
        }
        part = self._folder / "run.part"
        torch.save(state, part)
        part.replace(self._folder / "run.pt")  # a run that is cut off here still has the one before
        (self._folder / "scores.json").write_text(json.dumps(self._course.scores, indent=1), encoding="utf-8")

    def _resume(self) -> None:
        file = self._folder / "run.pt"
        try:
            state = torch.load(file, map_location=self._device, weights_only=True)
        except FileNotFoundError as error:
            raise WeightsError("there is no run to resume; start one without --resume", file=file) from error
        except (OSError, RuntimeError, pickle.UnpicklingError) as error:
            raise WeightsError(
                "the run there is damaged; start it anew without --resume", file=file
            ) from error
        if state.get("recipe") != self._recipe.fingerprint() or len(state["hardness"]) != len(self._pictures):
            raise WeightsError(
                "the run there was made by another recipe or of other pictures; name another folder",
                file=file,
            )
        self._course = Course(**state["course"])
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._hardness = state["hardness"].cpu().numpy()


class _Kitchen:
    """Makes batches ahead of time in worker processes, in the order of their plans."""

    def __init__(self, recipe: Recipe, pictures: list[Picture], bank: Bank) -> None:
        self._recipe, self._many = recipe, len(pictures)
        _shared.update(pictures=pictures, bank=bank)
        self._pool = ProcessPoolExecutor(
            recipe.workers, mp_context=multiprocessing.get_context("fork"), initializer=_settle
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)
        _shared.clear()

    def batches(
        self, first: int, weights: Callable[[], np.ndarray[Any, Any]]
    ) -> Iterator[tuple[int, list[tuple[int, ...]], list[Sample]]]:
        """Yield (iteration, which pictures, samples) to the end of the recipe."""
        waiting: deque[tuple[int, list[Plan], list[Future[list[Sample]]]]] = deque()
        following = first
        while following < self._recipe.iterations or waiting:
            while following < self._recipe.iterations and len(waiting) <= AHEAD:
                plans = self._plans(following, weights())
                parts = np.array_split(np.arange(len(plans)), self._recipe.workers)
                futures = [self._pool.submit(_make, [plans[at] for at in part]) for part in parts]
                waiting.append((following, plans, futures))
                following += 1
            number, made, futures = waiting.popleft()
            samples = [sample for future in futures for sample in future.result()]
            yield number, [plan.at for plan in made], samples

    def _plans(self, iteration: int, weights: np.ndarray[Any, Any]) -> list[Plan]:
        recipe = self._recipe
        rng = np.random.default_rng((recipe.seed, iteration))
        calm = iteration >= CALM_FROM * recipe.iterations
        width, height = recipe.sizes[rng.integers(len(recipe.sizes))]
        plans = []
        for number in range(recipe.batch):
            many = 1 if calm or rng.random() >= recipe.mosaic else 4
            at = tuple(int(one) for one in rng.choice(self._many, size=many, p=weights))
            plans.append(Plan(at, (recipe.seed, iteration * recipe.batch + number), width, height, calm))
        return plans


def _settle() -> None:
    die_with_parent()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)


def _make(plans: list[Plan]) -> list[Sample]:
    return [compose(plan, _shared["pictures"], _shared["bank"]) for plan in plans]


def _groups(model: DetectionModel, recipe: Recipe) -> list[dict[str, Any]]:
    """Return the optimizer's groups: weights decay, scales and biases do not; the trunk moves at half the rate."""
    trunk: list[Tensor] = []
    head: list[Tensor] = []
    plain: list[Tensor] = []
    for at, layer in enumerate(model.model):
        for parameter in layer.parameters():
            if parameter.requires_grad:
                group = plain if parameter.ndim == 1 else trunk if at < TRUNK_LAYERS else head
                group.append(parameter)
    decay = recipe.weight_decay
    return [
        {"params": head, "weight_decay": decay, "top": recipe.rate},
        {"params": plain, "weight_decay": 0.0, "top": recipe.rate},
        {"params": trunk, "weight_decay": decay, "top": recipe.rate / 2},
    ]


def _rate(iteration: int, recipe: Recipe) -> float:
    """Return the share of the top rate: a short rise, then a half cosine down to 1 %."""
    rise = min(1.0, iteration / recipe.rise)
    done = iteration / recipe.iterations
    return rise * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))


def _follow(average: nn.Module, model: nn.Module, iteration: int) -> None:
    """Move the averaged network towards the trained one (quicker at first)."""
    step = 1 - 0.998 * (1 - math.exp(-iteration / 150))
    with torch.no_grad():
        for mine, theirs in zip(average.state_dict().values(), model.state_dict().values(), strict=True):
            if mine.is_floating_point():
                mine.lerp_(theirs, step)
            else:
                mine.copy_(theirs)
