# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the network said of one look, as a struct of arrays."""

from dataclasses import dataclass
from enum import IntEnum, StrEnum

import numpy as np
from numpy.typing import NDArray

from gridwatch.core.geometry import Float32


class ObjectClass(IntEnum):
    """The eight classes, in the order of the network's outputs."""

    PERSON = 0
    BICYCLE = 1
    CAR = 2
    MOTORCYCLE = 3
    BUS = 4
    TRUCK = 5
    FIRE = 6
    SMOKE = 7


VEHICLES = (ObjectClass.CAR, ObjectClass.MOTORCYCLE, ObjectClass.BUS, ObjectClass.TRUCK)


class Part(StrEnum):
    """What a look may ask the network for. What it does not ask for is not computed, and costs nothing."""

    PEOPLE = "people"  # boxes of persons and vehicles
    FIRE = "fire"  # boxes of fire and smoke
    CROWD = "crowd"  # the density of persons

    @classmethod
    def of(cls, kind: ObjectClass) -> "Part":
        """Return the part that boxes of a class belong to."""
        return cls.FIRE if kind in {ObjectClass.FIRE, ObjectClass.SMOKE} else cls.PEOPLE


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """Boxes of one look, after NMS, by falling confidence.

    Attributes:
        xyxy: (N, 4) float32, normalised picture coordinates, x right, y down.
        confidence: (N,) float32, 0 to 1.
        class_id: (N,) int64, see `ObjectClass`.
        change: (N,) float32, how much the inside of the box differs from the same place in the look before:
            mean absolute luma difference, 0 to 255; NaN where unknown (the first look).
        density: (rows, columns) float32, persons per cell, covering exactly the picture (no padding);
            None where the crowd counter did not run.
    """

    xyxy: Float32
    confidence: Float32
    class_id: NDArray[np.int64]
    change: Float32
    density: Float32 | None = None

    def __len__(self) -> int:
        return len(self.confidence)

    def where(self, keep: NDArray[np.bool_]) -> "Detections":
        """Return the boxes that `keep` (N,) marks; the density stays."""
        return Detections(
            self.xyxy[keep], self.confidence[keep], self.class_id[keep], self.change[keep], self.density
        )

    def of(self, *classes: ObjectClass, at_least: float = 0.0) -> "Detections":
        """Return the boxes of these classes with at least this confidence."""
        return self.where(np.isin(self.class_id, classes) & (self.confidence >= at_least))

    def with_change(self, change: Float32) -> "Detections":
        """Return the same boxes with `change` (N,) measured."""
        return Detections(self.xyxy, self.confidence, self.class_id, change, self.density)

    @classmethod
    def none(cls) -> "Detections":
        """Return an answer without boxes: the network looked and saw nothing."""
        nothing = np.zeros(0, np.float32)
        return cls(np.zeros((0, 4), np.float32), nothing, np.zeros(0, np.int64), nothing)


@dataclass(frozen=True, slots=True)
class Unknown:
    """The network gave no answer for a look: neither "nothing there" nor anything else.

    `reason` is a short phrase (time-out, device error).
    """

    reason: str
