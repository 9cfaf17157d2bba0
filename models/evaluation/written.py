# SPDX-License-Identifier: AGPL-3.0-or-later
"""Scores as JSON: the keys are documented in docs/evaluation.md and are not renamed."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gridwatch.core.errors import InputError
from models.evaluation.alarms import SHARE_FOR_CHOICE, SHARE_FOR_RECALL, Share
from models.evaluation.counting import CountScores
from models.evaluation.matching import LEAST_IOU
from models.evaluation.precision import RESAMPLES, SEED
from models.evaluation.scoring import BoxScores, ClassScore, SizeScore
from models.evaluation.slices import PictureRow, SizeRow

_DIGITS = 4


@dataclass(frozen=True, slots=True)
class Ran:
    """What was scored: the network's name, the SHA-256 of its weights, and what computed it (back end, precision)."""

    name: str
    sha256: str
    device: str


def boxes_json(scores: BoxScores, ran: Ran) -> dict[str, Any]:
    """Return the scores of a split with boxes; the blocks at the top are those of the first size."""
    main, *others = scores.sizes
    return {
        "dataset": scores.dataset.name,
        "split": scores.dataset.split,
        "pictures": len(scores.dataset.samples),
        "network": asdict(ran),
        "size_px": main.size_px,
        **_size(main, scores.chosen_on),
        "sizes": {str(size.size_px): _size(size, scores.chosen_on) for size in others},
        "method": {
            "least_iou": LEAST_IOU,
            "ap_canvas": "validator",
            "pictures_canvas": "product",
            "interval": f"bootstrap, {RESAMPLES} resamples of {scores.groups} {_unit(scores)}, seed {SEED}",
            "recall_at_share_of_negatives": SHARE_FOR_RECALL,
            "operating_point": None
            if scores.chosen_on is None
            else f"at most {SHARE_FOR_CHOICE:.1%} of the negatives of split {scores.chosen_on!r} claimed",
        },
        "notes": list(scores.notes),
    }


def counts_json(scores: CountScores, ran: Ran) -> dict[str, Any]:
    """Return the scores of a split with counts."""
    return {
        "dataset": scores.folder.name,
        "split": scores.split,
        "pictures": sum(len(group.counts) for group in scores.groups),
        "network": asdict(ran),
        "size_px": scores.size_px,
        "counting": {
            group.name: {
                "pictures": len(group.counts),
                "mean_relative_error": _rounded(group.mean_relative_error),
                "mean_relative_error_ci95": _pair(group.relative_ci95),
                "mean_absolute_error": _rounded(group.mean_absolute_error),
                "mean_absolute_error_ci95": _pair(group.absolute_ci95),
                "true_sum": _rounded(group.true_sum),
                "counted_sum": _rounded(group.counted_sum),
                "least": _rounded(min(one.true for one in group.counts)),
                "most": _rounded(max(one.true for one in group.counts)),
            }
            for group in scores.groups
        },
        "unanswered": scores.unanswered,
        "notes": list(scores.notes),
    }


def write_json(result: Mapping[str, Any], file: Path) -> None:
    """Write a result, indented.

    Raises:
        InputError: it cannot be written.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(
            json.dumps(result, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8"
        )
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", file=file) from error


def _unit(scores: BoxScores) -> str:
    return "groups of pictures" if scores.dataset.grouped else "pictures"


def _size(size: SizeScore, chosen_on: str | None) -> dict[str, Any]:
    return {
        "classes": {one.name: _class(one) for one in size.classes},
        "negatives": {
            "images": size.negatives,
            "claimed": size.claimed.found if size.claimed else None,
            "ci95": _pair(size.claimed.ci95) if size.claimed else None,
        },
        "operating_point": {
            "chosen_on": chosen_on,
            "thresholds": {one.name: one.threshold for one in size.classes if one.chosen},
        },
        "by_height": [_height(row) for row in size.heights],
        "by_condition": [_pictures(row) for row in size.conditions],
        "by_note": [_pictures(row) for row in size.notes],
        "unanswered": size.unanswered,
    }


def _class(one: ClassScore) -> dict[str, Any]:
    threshold, recall = one.at_one_percent or (None, None)
    return {
        "ap50": _rounded(one.ap50),
        "ci95": _pair(one.ci95),
        "recall_at_1pct_negatives": None if recall is None else _rounded(recall.share),
        "recall_at_1pct_negatives_ci95": None if recall is None else _pair(recall.ci95),
        "threshold_at_1pct_negatives": threshold,
        "ap50_product_canvas": _rounded(one.ap50_product),
        "boxes": one.labels,
        "pictures": one.pictures,
        "at_threshold": {"threshold": one.threshold, "chosen": one.chosen, **_share(one.found)},
    }


def _height(row: SizeRow) -> dict[str, Any]:
    return {
        "class": row.name,
        "height": row.size,
        "boxes": _share(row.boxes),
        "pictures": _share(row.pictures),
    }


def _pictures(row: PictureRow) -> dict[str, Any]:
    return {
        "pictures_of": row.name,
        "pictures": row.pictures,
        "found": {name: _share(share) for name, share in row.found.items()},
        "negatives": row.claimed.of,
        "claimed": row.claimed.found,
    }


def _share(share: Share) -> dict[str, Any]:
    return {"found": share.found, "of": share.of, "recall": _rounded(share.share), "ci95": _pair(share.ci95)}


def _rounded(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else round(value, _DIGITS)


def _pair(values: tuple[float, float] | None) -> list[float | None] | None:
    return None if values is None else [_rounded(value) for value in values]
