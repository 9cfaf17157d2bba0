# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whole pictures: which are claimed at which threshold, and how often wrongly. Places of boxes play no part here."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gridwatch.core.proportion import wilson

# Of the negatives, by the figure that alarms live by; and by the operating point that is chosen on another split.
SHARE_FOR_RECALL = 0.01
SHARE_FOR_CHOICE = 0.025
MOST_CANDIDATES = 64  # thresholds a class that are tried; all pairs of them are
MOST_POINTS = 200  # of a curve
_STEPS = 1_000_000  # thresholds have six digits, so that the printed one is the one that was used


@dataclass(frozen=True, slots=True)
class Share:
    """`found` of `of`."""

    found: int
    of: int

    @property
    def share(self) -> float | None:
        """The proportion; None for nothing out of nothing."""
        return self.found / self.of if self.of else None

    @property
    def ci95(self) -> tuple[float, float] | None:
        """The 95 % Wilson score interval (Wilson 1927); None for nothing out of nothing."""
        return wilson(self.found, self.of)


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """The highest confidence (P,) of each picture for one class, 0 where it has no box, and which pictures show it."""

    score: NDArray[np.float64]
    shows: NDArray[np.bool_]


def threshold_for(negatives: NDArray[np.float64], share: float) -> float:
    """Return the lowest threshold that at most `share` of the `negatives` (N,) reach; N at least 1.

    The number is rounded down: of 129 negatives 1 % is one, of 99 none.
    """
    return _above(float(np.sort(negatives)[::-1][_allowed(len(negatives), share)]))


def recall_at(scores: Scores, negative: NDArray[np.bool_], share: float) -> tuple[float, Share] | None:
    """Return the threshold that at most `share` of the negatives (P,) reach, and the pictures found with it.

    None without negatives or without pictures that show the class.
    """
    if not negative.any() or not scores.shows.any():
        return None
    threshold = threshold_for(scores.score[negative], share)
    return threshold, found_at(scores, threshold)


def found_at(scores: Scores, threshold: float) -> Share:
    """Return how many of the pictures that show the class reach the threshold."""
    shown = scores.score[scores.shows]
    return Share(int((shown >= threshold).sum()), len(shown))


def claimed_at(
    scores: Mapping[str, Scores], negative: NDArray[np.bool_], thresholds: Mapping[str, float]
) -> NDArray[np.bool_]:
    """Return which pictures (P,) are negatives of which any class reaches its threshold."""
    reached = [scores[name].score >= threshold for name, threshold in thresholds.items()]
    return np.asarray(np.logical_or.reduce([np.zeros_like(negative), *reached]) & negative, np.bool_)


def choose_thresholds(
    scores: Mapping[str, Scores], negative: NDArray[np.bool_], share: float = SHARE_FOR_CHOICE
) -> dict[str, float] | None:
    """Choose one threshold per class such that at most `share` of the negatives reach any class's.

    Of all ways to spend the allowed number on the classes the one with the highest mean recall; of equal ones the one
    that claims fewer, then the one with higher thresholds. None without negatives.
    """
    if not negative.any() or not scores:
        return None
    allowed = _allowed(int(negative.sum()), share)
    steps = {name: _candidates(one.score[negative], allowed) for name, one in scores.items()}
    choices = [dict(zip(steps, values, strict=True)) for values in itertools.product(*steps.values())]
    ranked = [
        (mean_recall(scores, choice), -claimed, sum(choice.values()), choice)
        for choice in choices
        if (claimed := int(claimed_at(scores, negative, choice).sum())) <= allowed
    ]
    return max(ranked, key=lambda one: one[:3])[3]


def mean_recall(scores: Mapping[str, Scores], thresholds: Mapping[str, float]) -> float:
    """Return the mean over the classes of the share of pictures found; classes that no picture shows do not count."""
    shares = [found_at(scores[name], value).share for name, value in thresholds.items()]
    known = [share for share in shares if share is not None]
    return sum(known) / len(known) if known else 0.0


def recall_by_claims(
    scores: Scores, negative: NDArray[np.bool_], most_share: float = 0.2
) -> Sequence[tuple[float, float]]:
    """Return (share of negatives claimed, share of pictures found) for 0, 1, 2 … claimed negatives, at most 200 points."""
    if not negative.any() or not scores.shows.any():
        return []
    ranked = np.sort(scores.score[negative])[::-1]
    most = min(len(ranked) - 1, math.ceil(most_share * len(ranked)))
    shown = scores.score[scores.shows]
    return [
        (k / len(ranked), float((shown >= _above(float(ranked[k]))).mean()))
        for k in _ranks(most, MOST_POINTS)
    ]


def _candidates(negatives: NDArray[np.float64], allowed: int) -> list[float]:
    ranked = np.sort(negatives)[::-1]
    last = min(allowed, len(ranked) - 1)
    return sorted({_above(float(ranked[k])) for k in _ranks(last, MOST_CANDIDATES)})


def _ranks(last: int, most: int) -> list[int]:
    """Return 0 to `last`, or `most` of them, evenly."""
    return [int(rank) for rank in np.unique(np.linspace(0, last, min(last + 1, most)).round())]


def _allowed(negatives: int, share: float) -> int:
    return math.floor(share * negatives + 1e-9)


def _above(score: float) -> float:
    return (math.floor(score * _STEPS) + 1) / _STEPS
