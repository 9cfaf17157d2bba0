# SPDX-License-Identifier: AGPL-3.0-or-later
"""Contestants in processes of their own, taking turns: what disturbs the machine hits all of them.

Time is the process's CPU time, user and system, of all its threads. One turn is a whole number of passes over the same
pictures after one untimed look.
"""

import multiprocessing
import os
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from contest.agreement import Boxes
from contest.contestants import ONE_THREAD, Contestant, Spec, build
from contest.exports import Forms
from contest.scenes import Picture, Shape, cut

READY_WITHIN_S, TURN_WITHIN_S = 180.0, 120.0


class ContestantError(Exception):
    """A contestant could not be loaded or broke off; the message says which and why."""


@dataclass(frozen=True, slots=True, eq=False)
class Introduction:
    """What a contestant found before it was timed.

    Attributes:
        input_shape: height and width that its network really got.
        boxes: of the pictures that are timed.
        snug_boxes: of the pictures without padding.
    """

    input_shape: tuple[int, int]
    boxes: list[Boxes]
    snug_boxes: list[Boxes]


@dataclass(slots=True)
class Score:
    """One contestant's turns on one shape: pictures per CPU second, turn by turn."""

    fps: list[float] = field(default_factory=list)
    seen: "Introduction | None" = None

    @property
    def median_fps(self) -> float:
        """Of all turns."""
        return float(np.median(self.fps))


def ratio(first: Score, second: Score) -> float:
    """Return how many times as fast the first is: the median over turns that lay side by side."""
    return float(np.median(np.array(first.fps) / np.array(second.fps)))


class Corner:
    """One contestant in its process."""

    def __init__(self, spec: Spec, shapes: Sequence[Shape], forms: Forms, pictures: Path) -> None:
        """Describe it; entering starts the process."""
        self.spec = spec
        self.scores = {shape.name: Score() for shape in shapes}
        self._work = (spec, tuple(shapes), forms, pictures)

    def __enter__(self) -> Self:
        context = multiprocessing.get_context("spawn")
        self._ours, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, *self._work), daemon=True)
        self._process.start()
        theirs.close()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ours.close()
        self._process.join(10)
        if self._process.is_alive():
            self._process.kill()

    def meet(self) -> None:
        """Wait until it is loaded, and take down its boxes and its input's shape on every shape."""
        for name, seen in self._ask(None, READY_WITHIN_S).items():
            self.scores[name].seen = seen

    def turn(self, shape: Shape, least_cpu_s: float) -> None:
        """Have it work for at least so many CPU seconds, and note how fast it was."""
        self.scores[shape.name].fps.append(self._ask((shape.name, least_cpu_s), TURN_WITHIN_S))

    def _ask(self, question: Any, timeout_s: float) -> Any:
        try:
            self._ours.send(question)
            if not self._ours.poll(timeout_s):
                raise ContestantError(f"{self.spec.name}: no answer within {timeout_s:.0f} s")
            answer = self._ours.recv()
        except (EOFError, OSError) as error:
            raise ContestantError(f"{self.spec.name}: its process ended; its own words are above") from error
        return answer


def save(pictures: list[Picture], shapes: Sequence[Shape], folder: Path) -> None:
    """Put what the contestants will see where their processes find it."""
    for shape in shapes:
        np.save(folder / f"{shape.name}.npy", cut(pictures, shape.picture_width))
        np.save(folder / f"{shape.name}-snug.npy", cut(pictures, shape.snug_width))


def _serve(parent: Connection, spec: Spec, shapes: tuple[Shape, ...], forms: Forms, folder: Path) -> None:
    """Answer the parent's questions until it goes away."""
    if spec.variant == ONE_THREAD:
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # before any library counts the cores
    ready = {shape.name: build(spec, shape, forms) for shape in shapes}
    pictures = {shape.name: np.load(folder / f"{shape.name}.npy") for shape in shapes}
    while True:
        try:
            question = parent.recv()
        except EOFError:
            return
        if question is None:
            snug = {name: np.load(folder / f"{name}-snug.npy") for name in ready}
            parent.send({name: _introduce(each, pictures[name], snug[name]) for name, each in ready.items()})
        else:
            name, least_cpu_s = question
            parent.send(_fps(ready[name], pictures[name], least_cpu_s))


def _introduce(contestant: Contestant, pictures: Any, snug: Any) -> Introduction:
    return Introduction(
        contestant.input_shape(pictures[0]),
        [contestant.boxes(picture) for picture in pictures],
        [contestant.boxes(picture) for picture in snug],
    )


def _fps(contestant: Contestant, pictures: Any, least_cpu_s: float) -> float:
    contestant.run(pictures[0])
    passes, began = 0, time.process_time()
    while (taken := time.process_time() - began) < least_cpu_s:
        for picture in pictures:
            contestant.run(picture)
        passes += 1
    return passes * len(pictures) / taken


def hold(corners: Sequence[Corner], shapes: Sequence[Shape], rounds: int, turn_s: float) -> None:
    """Run all contestants; the order turns round by round, so that nobody always comes after the same one."""
    with ExitStack() as stack:
        for corner in corners:
            stack.enter_context(corner)
        for corner in corners:
            corner.meet()
        for number in range(rounds):
            for shape in shapes:
                for corner in corners if number % 2 == 0 else reversed(corners):
                    corner.turn(shape, turn_s)
