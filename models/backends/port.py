# SPDX-License-Identifier: AGPL-3.0-or-later
"""What an inference engine is to this project. Knows nothing of cameras, boxes or files."""

from dataclasses import dataclass
from typing import Protocol

from gridwatch.core.geometry import Float32


@dataclass(frozen=True, slots=True, eq=False)
class RawAnswer:
    """The network's outputs for one input, untouched, in memory of their own.

    Attributes:
        detections: (12, A) float32: centre x, centre y, width, height in input pixels, then eight scores (0 to 1).
            The first A/2 anchors carry people and vehicles, the last A/2 fire and smoke.
        density: (H/8, W/8) float32, persons per cell of 8×8 input pixels; None where it was not asked for.
    """

    detections: Float32
    density: Float32 | None


class Engine(Protocol):
    """One network, ready to run. Any number of threads may call it at once."""

    @property
    def device(self) -> str:
        """What computes, in how many parts and how exactly, in one short phrase."""
        ...

    def prepare(self, height: int, width: int, *, crowd: bool) -> None:
        """Make ready for inputs of this size, so that the first `run` is not the slow one.

        Raises:
            InferenceError: the engine cannot compile the network.
        """
        ...

    def run(self, images: Float32, *, crowd: bool) -> RawAnswer:
        """Run one input (1, 3, H, W): RGB, 0 to 1, sides multiples of 32; `crowd` asks for the density too.

        Raises:
            InferenceError: the engine gave no answer.
        """
        ...
