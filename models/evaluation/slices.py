# SPDX-License-Identifier: AGPL-3.0-or-later
"""The same scores for parts of a split: by the height of the thing, by day and night, by the manifest's notes."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.evaluation.alarms import Scores, Share
from models.evaluation.matching import Matches

# Shares of the picture's height.
HEIGHTS = (("small (< 10 %)", 0.0, 0.10), ("medium (10–30 %)", 0.10, 0.30), ("large (≥ 30 %)", 0.30, np.inf))
# Mean luma, 0 to 255. A lit street at night has 40 to 55, an overcast day 90 to 130.
NIGHT_BELOW = 60.0
MOST_NOTES = 20


@dataclass(frozen=True, slots=True)
class SizeRow:
    """One class, one range of heights: labelled boxes found, and pictures whose largest box is of this size."""

    name: str
    size: str
    boxes: Share
    pictures: Share


@dataclass(frozen=True, slots=True)
class PictureRow:
    """Some of the pictures: how many show each class and were found, and how many negatives were claimed."""

    name: str
    pictures: int
    found: Mapping[str, Share]
    claimed: Share


def by_height(name: str, matches: Matches, scores: Scores, threshold: float) -> tuple[SizeRow, ...]:
    """Return one row per range of heights, at a threshold."""
    largest = np.zeros(matches.pictures)
    np.maximum.at(largest, matches.label_picture, matches.label_height)
    rows = []
    for size, low, high in HEIGHTS:
        boxes = (matches.label_height >= low) & (matches.label_height < high)
        pictures = scores.shows & (largest >= low) & (largest < high)
        rows.append(
            SizeRow(
                name,
                size,
                _share(matches.label_found[boxes] >= threshold),
                _share(scores.score[pictures] >= threshold),
            )
        )
    return tuple(rows)


def by_condition(
    luma: NDArray[np.float64],
    scores: Mapping[str, Scores],
    thresholds: Mapping[str, float],
    negative: NDArray[np.bool_],
    claimed: NDArray[np.bool_],
) -> tuple[PictureRow, ...]:
    """Return a row for day and one for night, told by the picture's mean luma (P,)."""
    night = luma < NIGHT_BELOW
    return tuple(
        _row(name, which, scores, thresholds, negative, claimed)
        for name, which in (("day", ~night), ("night", night))
    )


def by_note(
    notes: Sequence[str],
    scores: Mapping[str, Scores],
    thresholds: Mapping[str, float],
    negative: NDArray[np.bool_],
    claimed: NDArray[np.bool_],
) -> tuple[PictureRow, ...]:
    """Return a row for each of the twenty commonest notes of the manifest; none where there are no notes."""
    if not any(notes):
        return ()
    array = np.array(notes)
    common = [note for note, _ in Counter(notes).most_common(MOST_NOTES)]
    return tuple(
        _row(note or "(no note)", array == note, scores, thresholds, negative, claimed)
        for note in sorted(common)
    )


def _row(
    name: str,
    which: NDArray[np.bool_],
    scores: Mapping[str, Scores],
    thresholds: Mapping[str, float],
    negative: NDArray[np.bool_],
    claimed: NDArray[np.bool_],
) -> PictureRow:
    found = {
        target: _share(scores[target].score[scores[target].shows & which] >= threshold)
        for target, threshold in thresholds.items()
    }
    return PictureRow(name, int(which.sum()), found, _share(claimed[which & negative]))


def _share(hits: NDArray[np.bool_]) -> Share:
    return Share(int(hits.sum()), len(hits))
