# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a training job is, and whether it can be done, before hours are spent on it."""

import fcntl
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor

from models.errors import WeightsError
from models.training.counter import check_scenes
from models.training.nets import coco_detector, counter, fire_detector, load_state
from models.training.pictures import check_folders
from models.training.recipes import Recipe

PEOPLE, FIRE, DENSITY = ("yolov8n-coco", "gridwatch-firesmoke", "gridwatch-density")
NOTE = "job.json"
LOCK = "job.lock"


@dataclass(frozen=True, slots=True)
class Job:
    """What to train, from where to where.

    Attributes:
        data: the folder of pictures (docs/training.md says which it holds).
        weights: the folder of starting weights.
        out: the job's folder; made if missing.
        recipes: of the fire part's runs, trained side by side.
        counter_iterations: of the counter; 0 keeps the one in `weights`.
        every: only every n-th picture, for a try.
        resume: go on with what is in `out`.
    """

    data: Path
    weights: Path
    out: Path
    recipes: tuple[Recipe, ...]
    counter_iterations: int
    every: int = 1
    resume: bool = False

    def start_of(self, part: str) -> Path:
        """Return the file of starting weights called `part`."""
        return self.weights / f"{part}.safetensors"

    def fingerprint(self) -> str:
        """Return what tells this job from another one: recipes, starting weights, names of pictures."""
        told = hashlib.sha256()
        for recipe in self.recipes:
            told.update(recipe.fingerprint().encode())
        told.update(f"{self.counter_iterations} {self.every}".encode())
        for part in (PEOPLE, FIRE, DENSITY):
            told.update(self.start_of(part).read_bytes())
        for file in sorted(self.data.rglob("*.[jp][pn]*g")):
            told.update(str(file.relative_to(self.data)).encode())
        return told.hexdigest()[:16]


def check(job: Job) -> None:
    """Load what a job starts from and look for what it learns from.

    Raises:
        WeightsError: weights, pictures or a device are missing or broken.
    """
    for part, build in ((PEOPLE, coco_detector), (FIRE, fire_detector), (DENSITY, counter)):
        build(load_start(job.start_of(part)))
    check_folders(job.data)
    check_scenes(job.data)
    if any(recipe.device == "cuda" for recipe in job.recipes) and not torch.cuda.is_available():
        raise WeightsError(
            "the recipe gpu needs a GPU that torch can use; there is none here: take --recipe cpu"
        )


def load_start(file: Path) -> dict[str, Tensor]:
    """Read starting weights.

    Raises:
        WeightsError: missing or broken.
    """
    try:
        return load_state(file)
    except FileNotFoundError as error:
        raise WeightsError("the weights to start from are not there", file=file) from error
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"the weights to start from cannot be read: {error}", file=file) from error


@contextmanager
def folder_of(job: Job) -> Iterator[None]:
    """Hold a job's folder for this process alone, and note whose it is.

    Raises:
        WeightsError: another process trains there, or another job was begun there.
    """
    job.out.mkdir(parents=True, exist_ok=True)
    with (job.out / LOCK).open("w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise WeightsError("another process trains in this folder", file=job.out) from error
        note, mine = job.out / NOTE, job.fingerprint()
        if job.resume and note.exists():
            if json.loads(note.read_text(encoding="utf-8"))["job"] != mine:
                raise WeightsError(
                    "another job was begun there (recipe, seeds, pictures or starting weights differ);"
                    " name another folder",
                    file=job.out,
                )
        elif job.resume:
            raise WeightsError("there is no job to resume; start one without --resume", file=job.out)
        note.write_text(json.dumps({"job": mine}), encoding="utf-8")
        yield
