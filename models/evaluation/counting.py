# SPDX-License-Identifier: AGPL-3.0-or-later
"""How well the crowd counter counts: pictures with a known number of persons, against the sum of the density.

The set is a folder with a MANIFEST.tsv whose columns `file`, `split` and `count` say what there is. Scenes with hundreds
and scenes with a dozen tell different things (a share; a number of persons) and are kept apart: by the manifest's column
`tag` or `group` where it has one, else by what a file's name begins with (`shta` of `shta_IMG_105.jpg`).
"""

import math
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gridwatch.core.detections import Part
from models.errors import InferenceError, PictureError
from models.evaluation.errors import DatasetError
from models.evaluation.looking import Advance, Detector, told_unanswered
from models.evaluation.manifest import MANIFEST, Row, read_manifest
from models.evaluation.pictures import PictureFrame, read_picture
from models.evaluation.precision import RESAMPLES, SEED

_NUMBER = re.compile(r"[_-]?(img)?[_-]?\d+$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class CountSample:
    """A picture with a known number of persons (some sets give it with decimals)."""

    file: Path
    count: float
    tag: str


@dataclass(frozen=True, slots=True)
class CountSet:
    """One split of a set with counts."""

    folder: Path
    split: str
    samples: tuple[CountSample, ...]


@dataclass(frozen=True, slots=True)
class Count:
    """One picture: how many there are and how many were counted."""

    file: Path
    true: float
    counted: float


@dataclass(frozen=True, slots=True)
class CountGroup:
    """All pictures of one tag; at least one."""

    name: str
    counts: tuple[Count, ...]

    @property
    def mean_relative_error(self) -> float:
        """The mean over pictures of |counted − true| / true; NaN where no picture has anybody."""
        return _mean(self._relative())

    @property
    def mean_absolute_error(self) -> float:
        """The mean over pictures of |counted − true|, persons."""
        return _mean(self._absolute())

    @property
    def relative_ci95(self) -> tuple[float, float] | None:
        """Its 95 % interval, by bootstrap over pictures."""
        return _interval(self._relative())

    @property
    def absolute_ci95(self) -> tuple[float, float] | None:
        """Its 95 % interval, by bootstrap over pictures."""
        return _interval(self._absolute())

    @property
    def true_sum(self) -> float:
        """How many persons there are in all pictures."""
        return sum(one.true for one in self.counts)

    @property
    def counted_sum(self) -> float:
        """How many were counted in all pictures."""
        return sum(one.counted for one in self.counts)

    def _relative(self) -> NDArray[np.float64]:
        return np.array([abs(one.counted - one.true) / one.true for one in self.counts if one.true > 0])

    def _absolute(self) -> NDArray[np.float64]:
        return np.array([abs(one.counted - one.true) for one in self.counts])


@dataclass(frozen=True, slots=True)
class CountScores:
    """The result for one split."""

    folder: Path
    split: str
    size_px: int
    groups: tuple[CountGroup, ...]
    unanswered: int
    notes: tuple[str, ...] = ()


def is_counts(folder: Path) -> bool:
    """Tell whether a folder is a set with counts: a manifest with a column `count`."""
    rows = read_manifest(folder) or {}
    return any("count" in row for row in rows.values())


def load_counts(folder: Path, split: str) -> CountSet:
    """Read one split of a set with counts.

    Raises:
        DatasetError: no such split, a count that is no number, a picture that is not there.
    """
    rows = read_manifest(folder) or {}
    wanted = [row for row in rows.values() if row.get("split", split) == split]
    if not wanted:
        known = ", ".join(sorted({row.get("split", "") for row in rows.values()} - {""})) or "none"
        raise DatasetError(f"names no picture of split {split!r}; there are: {known}", file=folder / MANIFEST)
    return CountSet(folder, split, tuple(_sample(folder, row) for row in wanted))


def score_counts(
    counts: CountSet, network: Detector, size_px: int, *, threads: int = 1, advance: Advance = lambda: None
) -> CountScores:
    """Count every picture as the product does: its letterbox, the density's sum over the picture without padding.

    Args:
        counts: the split.
        network: opened with an input of `size_px`.
        size_px: only written into the result.
        threads: pictures looked at at once.
        advance: called after each look.

    Raises:
        InputError: a file is no picture, the network has no counter, or gave no answer for any picture.
    """

    def counted(sample: CountSample) -> float | str:
        return _count(network, sample.file)

    found: dict[str, list[Count]] = {}
    problems: dict[str, str] = {}
    with ThreadPoolExecutor(threads, thread_name_prefix="count") as pool:
        for sample, value in zip(counts.samples, pool.map(counted, counts.samples), strict=True):
            if isinstance(value, str):
                problems[sample.file.name] = value
            found.setdefault(sample.tag, []).append(
                Count(sample.file, sample.count, 0.0 if isinstance(value, str) else value)
            )
            advance()
    groups = tuple(CountGroup(tag, tuple(values)) for tag, values in sorted(found.items()))
    notes = (told_unanswered(problems, len(counts.samples), f"at {size_px} px"),) if problems else ()
    return CountScores(counts.folder, counts.split, size_px, groups, len(problems), notes)


def _count(network: Detector, file: Path) -> float | str:
    """Return the persons in a picture, or why the network gave no answer."""
    frame = PictureFrame(read_picture(file))
    try:
        density = network.detect(frame, parts=frozenset({Part.CROWD})).density
    except (InferenceError, PictureError) as error:
        return str(error)
    if density is None:
        raise DatasetError("this network has no crowd counter, so nothing can be scored on a set with counts")
    return float(density.sum(dtype=np.float64))


def _sample(folder: Path, row: Row) -> CountSample:
    line = int(row["line"])
    file = folder / row["file"]
    if not file.is_file():
        raise DatasetError(
            f"names a picture that is not there: {row['file']}", file=folder / MANIFEST, line=line
        )
    try:
        count = float(row["count"])
    except ValueError as error:
        raise DatasetError(
            f"count is no number: {row['count']!r}", file=folder / MANIFEST, line=line
        ) from error
    if not (math.isfinite(count) and count >= 0):
        raise DatasetError(
            f"count is no number of persons: {row['count']!r}", file=folder / MANIFEST, line=line
        )
    tag = row.get("tag") or row.get("group") or _NUMBER.sub("", file.stem) or "all"
    return CountSample(file, count, tag)


def _mean(values: Sequence[float] | NDArray[np.float64]) -> float:
    return float(np.mean(values)) if len(values) else math.nan


def _interval(values: NDArray[np.float64]) -> tuple[float, float] | None:
    if len(values) == 0:
        return None
    drawn = np.random.default_rng(SEED).integers(0, len(values), (RESAMPLES, len(values)))
    low, high = np.percentile(values[drawn].mean(axis=1), [2.5, 97.5])
    return float(low), float(high)
