# SPDX-License-Identifier: AGPL-3.0-or-later
"""What an inference engine is to this project. It knows names of outputs; nothing of cameras, boxes or files."""

from collections.abc import Sequence
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gridwatch.core.geometry import Float32

Uint8: TypeAlias = NDArray[np.uint8]
PROBE = (64, 64)  # an input (height, width) at which outputs' sides are worked out, where any will do
INPUT = "images"  # (B, 3, H, W) float32, RGB, 0 to 1, as the network's file has it


class Engine(Protocol):
    """One network, ready to run. Any number of threads may call it at once."""

    @property
    def device(self) -> str:
        """What computes, in how many parts and how exactly, in one short phrase."""
        ...

    @property
    def precision(self) -> str:
        """`f32`, `int8` or `f16`."""
        ...

    @property
    def batch(self) -> int:
        """The most pictures that are worth giving at once; 1 where a batch is no faster than one by one."""
        ...

    @property
    def fixed_size(self) -> tuple[int, int] | None:
        """The only input (height, width) that the network's file allows; None where any will do."""
        ...

    def channels(self, output: str) -> int:
        """Return the second side of an output: of a head, 4 and its classes.

        Raises:
            InferenceError: there is no such output, or its second side depends on the picture.
        """
        ...

    def canvas(self, batch: int, height: int, width: int) -> Uint8:
        """Return memory (batch, height, width, 3) uint8 from which this engine reads pictures fastest; its content is arbitrary."""
        ...

    def prepare(self, height: int, width: int, outputs: tuple[str, ...]) -> None:
        """Make ready for inputs of this size, so that the first `run` is not the slow one.

        Raises:
            InferenceError: the engine cannot compute the network.
        """
        ...

    def run(self, pictures: Uint8, outputs: tuple[str, ...]) -> tuple[Float32, ...]:
        """Run pictures (N, H, W, 3) uint8 BGR, sides multiples of 32; compute what `outputs` need and nothing else.

        Returns:
            The outputs (N, ...) float32, in the order asked for, untouched, in memory of their own.

        Raises:
            InferenceError: the engine gave no answer.
        """
        ...


def fixed_of(sides: Sequence[object]) -> tuple[int, int] | None:
    """Return height and width of an input's four sides if both are numbers."""
    _, _, height, width = sides
    return (height, width) if isinstance(height, int) and isinstance(width, int) else None


def first_line(error: Exception) -> str:
    """Return what a native library says in its many lines: the last that is not empty, at most 200 characters."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:200] if lines else type(error).__name__


def streams(threads: int) -> str:
    """Return how many looks are computed at once, as a phrase."""
    return "1 single-thread stream" if threads == 1 else f"{threads} single-thread streams"
