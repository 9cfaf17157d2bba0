# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is scored: a class, or "any vehicle", for labels and networks that do not agree on what a van is."""

from dataclasses import dataclass

import numpy as np

from gridwatch.core.detections import VEHICLES, Detections, ObjectClass, Part
from gridwatch.core.errors import InputError
from gridwatch.core.geometry import Float32
from models.evaluation.datasets import Dataset, Sample
from models.evaluation.matching import iou

ANY_VEHICLE = "any_vehicle"
# Two boxes of different classes on one vehicle overlap by more than this and are one box of "any vehicle".
MERGE_IOU = 0.7


@dataclass(frozen=True, slots=True)
class Target:
    """A name in the scores and the classes that count as it."""

    name: str
    kinds: tuple[ObjectClass, ...]

    @property
    def alarms(self) -> bool:
        """Whether a picture that shows it raises an alarm: fire and smoke."""
        return all(Part.of(kind) is Part.FIRE for kind in self.kinds)

    def labels(self, sample: Sample) -> Float32:
        """Return the labelled boxes (N, 4) of a picture that count as this."""
        return sample.xyxy[np.isin(sample.class_id, self.kinds)]

    def boxes(self, seen: Detections) -> Detections:
        """Return the network's boxes that count as this; of several classes one box per thing."""
        mine = seen.of(*self.kinds)
        return mine if len(self.kinds) == 1 else mine.where(_strongest_of_each(mine))


def targets_of(
    dataset: Dataset, only: tuple[str, ...] = (), tells: frozenset[ObjectClass] = frozenset(ObjectClass)
) -> tuple[tuple[Target, ...], tuple[str, ...]]:
    """Return what can be scored on a split, and notes on what cannot.

    A class that data.yaml names but no label of the split has is not scored, nor one that the network does not tell.
    Where vehicles are labelled, "any vehicle" is scored beside the classes.

    Args:
        dataset: the split.
        only: names of what is to be scored; all where empty.
        tells: the classes that the network tells.

    Raises:
        InputError: `only` names something that is not to be scored here, or nothing is.
    """
    present = {ObjectClass(kind) for sample in dataset.samples for kind in np.unique(sample.class_id)}
    found = [Target(kind.name.lower(), (kind,)) for kind in ObjectClass if kind in present & dataset.classes]
    vehicles = tuple(kind for kind in VEHICLES if kind in dataset.classes)
    if len(vehicles) > 1 and present & set(vehicles):
        found.append(Target(ANY_VEHICLE, vehicles))
    names = [target.name for target in found]
    strange = [name for name in only if name not in names]
    if strange or not found:
        said = f"nothing of {', '.join(strange)}" if strange else "nothing"
        raise InputError(
            f"{said} is labelled in split {dataset.split!r}; labelled are: {', '.join(names) or 'no classes'}",
            file=dataset.folder,
        )
    silent = [kind.name.lower() for kind in ObjectClass if kind in dataset.classes - present]
    notes = [f"no label in split {dataset.split!r}, so not scored: {', '.join(silent)}"] if silent else []
    wanted = [target for target in found if not only or target.name in only]
    told = tuple(target for target in wanted if tells.intersection(target.kinds))
    blind = ", ".join(target.name for target in wanted if target not in told)
    if not told:
        raise InputError(
            f"this network does not tell {blind}, so there is nothing to score in split {dataset.split!r}",
            file=dataset.folder,
        )
    if blind:
        notes.append(f"this network does not tell {blind}: not scored")
    return told, tuple(notes)


def _strongest_of_each(seen: Detections) -> np.ndarray:
    overlaps = iou(seen.xyxy, seen.xyxy)
    keep = np.ones(len(seen), np.bool_)
    for at in range(len(seen)):  # boxes come by falling confidence
        if keep[at]:
            keep[at + 1 :] &= overlaps[at, at + 1 :] <= MERGE_IOU
    return keep
