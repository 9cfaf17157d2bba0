# SPDX-License-Identifier: AGPL-3.0-or-later
"""Average precision and its 95 % interval, from matches. Knows no pictures."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.evaluation.matching import Matches

RESAMPLES = 1000
SEED = 15
_RECALLS = np.linspace(0, 1, 101)


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """Precision and recall after each box, by falling confidence: three arrays (N,)."""

    recall: NDArray[np.float64]
    precision: NDArray[np.float64]
    confidence: NDArray[np.float64]


def curve(matches: Matches) -> Curve:
    """Return the precision–recall curve as it is, without envelope or interpolation."""
    hits = matches.hit.cumsum()
    return Curve(
        hits / max(1, len(matches.label_picture)), hits / np.arange(1, len(hits) + 1), matches.confidence
    )


def average_precision(hit: NDArray[np.bool_], labels: int) -> float:
    """Return the area under the precision–recall curve of boxes (N,) by falling confidence against `labels` labels.

    As Ultralytics' `compute_ap`: the curve starts at precision 1 and falls to 0 after its last recall, precision is its
    running maximum from the right, read at 101 recalls (COCO) and integrated by trapezoids; so a perfect one has 0.995. NaN without labels.
    """
    if labels == 0:
        return float("nan")
    if len(hit) == 0:
        return 0.0
    hits = hit.cumsum()
    recall = hits / labels
    precision = hits / np.arange(1, len(hit) + 1)
    recall = np.concatenate(([0.0], recall, [recall[-1], 1.0]))
    precision = np.concatenate(([1.0], precision, [0.0, 0.0]))
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.trapezoid(np.interp(_RECALLS, recall, envelope), _RECALLS))


def ap50(matches: Matches) -> float:
    """Return the average precision of one class at IoU 0.5; NaN without labels."""
    return average_precision(matches.hit, len(matches.label_picture))


def interval(
    matches: Matches, group: NDArray[np.int64], *, resamples: int = RESAMPLES, seed: int = SEED
) -> tuple[float, float] | None:
    """Return the 95 % interval of `ap50` by bootstrap over groups of pictures; None without labels.

    Args:
        matches: of one class.
        group: (pictures,) the number of each picture's group, from 0 on; groups are drawn with replacement, whole.
        resamples: how often.
        seed: of the draws.
    """
    if len(matches.label_picture) == 0:
        return None
    rng = np.random.default_rng(seed)
    groups = int(group.max()) + 1
    of_box, of_label = group[matches.picture], group[matches.label_picture]
    found = np.empty(resamples)
    for one in range(resamples):
        times = np.bincount(rng.integers(0, groups, groups), minlength=groups)
        found[one] = average_precision(np.repeat(matches.hit, times[of_box]), int(times[of_label].sum()))
    low, high = np.nanpercentile(found, [2.5, 97.5])
    return float(low), float(high)
