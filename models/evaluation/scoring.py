# SPDX-License-Identifier: AGPL-3.0-or-later
"""Looks and labels to scores. The definitions are docs/evaluation.md's.

test split ─ validator's canvas ─ average precision, curve
           └ product's canvas ─── recall of pictures, claimed negatives, tables, failures
val split ── product's canvas ─── operating point
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gridwatch.core.detections import ObjectClass, Part
from models.evaluation.alarms import (
    SHARE_FOR_RECALL,
    Scores,
    Share,
    choose_thresholds,
    claimed_at,
    found_at,
    recall_at,
    recall_by_claims,
)
from models.evaluation.datasets import Dataset, Sample
from models.evaluation.looking import Advance, Canvas, Look, LookSpec, Opener, look_at, told_unanswered
from models.evaluation.matching import Matches, match
from models.evaluation.precision import Curve, ap50, curve, interval
from models.evaluation.slices import PictureRow, SizeRow, by_condition, by_height, by_note
from models.evaluation.targets import Target, targets_of

# Where nothing chooses a threshold (people and vehicles; no negatives to choose on), tables are made at this confidence.
SHOWN_AT = 0.25


@dataclass(frozen=True, slots=True)
class Spec:
    """How to score.

    Attributes:
        sizes_px: long sides of the input, multiples of 32; the first is the main one.
        threads: pictures looked at at once.
        only: names of classes (or `any_vehicle`); all that are labelled where empty.
        tells: the classes that the network tells; others are not scored.
    """

    sizes_px: tuple[int, ...]
    threads: int = 1
    only: tuple[str, ...] = ()
    tells: frozenset[ObjectClass] = frozenset(ObjectClass)


@dataclass(frozen=True, slots=True, eq=False)
class ClassScore:
    """One class at one size.

    Attributes:
        labels, pictures: labelled boxes, and pictures that show the class.
        ap50, ci95: average precision at IoU 0.5 on the validator's canvas, and its bootstrap interval.
        ap50_product: the same on the product's canvas.
        curve: precision and recall on the validator's canvas.
        at_one_percent: the threshold that 1 % of the negatives reach, and the pictures found with it; None for people
            and vehicles, which raise no alarm by being in a picture.
        threshold, chosen: of the operating point; `chosen` is False where it is only `SHOWN_AT`.
        found, claimed: pictures found there, and negatives that this class alone claims there.
        by_claims: (share of negatives claimed, share of pictures found), this class alone.
    """

    name: str
    labels: int
    pictures: int
    ap50: float
    ci95: tuple[float, float] | None
    ap50_product: float
    curve: Curve
    at_one_percent: tuple[float, Share] | None
    threshold: float
    chosen: bool
    found: Share
    claimed: Share
    by_claims: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True, eq=False)
class Failure:
    """A picture that went wrong: `what` is the class that was missed, or "" for a negative that was claimed."""

    what: str
    sample: Sample
    look: Look
    score: float


@dataclass(frozen=True, slots=True, eq=False)
class SizeScore:
    """Everything at one input size.

    `claimed` is None where no operating point was chosen; `unanswered` counts the pictures without an answer on either
    canvas.
    """

    size_px: int
    classes: tuple[ClassScore, ...]
    negatives: int
    claimed: Share | None
    heights: tuple[SizeRow, ...]
    conditions: tuple[PictureRow, ...]
    notes: tuple[PictureRow, ...]
    failures: tuple[Failure, ...]
    unanswered: int


@dataclass(frozen=True, slots=True, eq=False)
class BoxScores:
    """The result for one split; `sizes[0]` is the main one."""

    dataset: Dataset
    chosen_on: str | None
    groups: int
    sizes: tuple[SizeScore, ...]
    notes: tuple[str, ...]


def looks_needed(test: Dataset, choose: Dataset | None, spec: Spec) -> int:
    """Return how many looks `score_boxes` will take.

    Raises:
        InputError: nothing can be scored.
    """
    choose = _Plan.of(test, choose, spec).choose
    chosen = 0 if choose is None else len(choose.samples)
    return len(spec.sizes_px) * (2 * len(test.samples) + chosen)


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is scored, the split that an operating point is chosen on (None: none is), and notes on both."""

    targets: tuple[Target, ...]
    choose: Dataset | None
    notes: tuple[str, ...]

    @classmethod
    def of(cls, test: Dataset, choose: Dataset | None, spec: Spec) -> "_Plan":
        targets, notes = targets_of(test, spec.only, spec.tells)
        if not any(target.alarms for target in targets):
            return cls(targets, None, notes)
        why = None
        if choose is not None and {one.file for one in choose.samples} & {one.file for one in test.samples}:
            why = f"an operating point is not chosen on pictures that are scored (split {choose.split!r})"
        elif choose is None or not _negative(choose.samples, Part.FIRE).any():
            why = "no split with negatives to choose an operating point on"
        if why is None:
            return cls(targets, choose, notes)
        return cls(targets, None, (*notes, f"{why}; tables are at confidence {SHOWN_AT}"))


def score_boxes(
    test: Dataset, choose: Dataset | None, open_at: Opener, spec: Spec, advance: Advance = lambda: None
) -> BoxScores:
    """Score a network on `test`, at an operating point that is chosen on `choose`, which shares no picture with it.

    Args:
        test: the split.
        choose: another split of the same data set, or None where there is none.
        open_at: opens the network with an input of this long side, with boxes down to confidence 0.001, suppressed at
            IoU 0.7 per class.
        spec: see `Spec`.
        advance: called after each look.

    Raises:
        InputError: nothing can be scored, a picture cannot be read, or the network answered for none.
    """
    plan = _Plan.of(test, choose, spec)
    notes = [*test.notes, *plan.notes]
    group = _groups(test.samples)
    sizes = []
    for size_px in spec.sizes_px:
        look = _Looker(open_at, plan.targets, size_px, spec.threads, advance)
        seen = look.at(test.samples, Canvas.PRODUCT)
        notes += _unanswered_notes(test, seen, size_px)
        framed = look.at(test.samples, Canvas.VALIDATOR)
        notes += _unanswered_notes(test, framed, size_px, " on the validator's canvas")
        chosen: Mapping[str, float] = {}
        if plan.choose is not None:
            other = look.at(plan.choose.samples, Canvas.PRODUCT)
            notes += _unanswered_notes(plan.choose, other, size_px)
            alarms = tuple(target for target in plan.targets if target.alarms)
            negative = _negative(plan.choose.samples, Part.FIRE)
            chosen = choose_thresholds(_scores(alarms, plan.choose.samples, other), negative) or {}
        sizes.append(_size_score(_Seen(test, plan.targets, group, framed, seen), chosen, size_px))
    chosen_on = None if plan.choose is None else plan.choose.split
    return BoxScores(test, chosen_on, int(group.max()) + 1, tuple(sizes), tuple(notes))


def _unanswered_notes(dataset: Dataset, looks: Sequence[Look], size_px: int, canvas: str = "") -> list[str]:
    problems = {
        sample.file.name: look.problem
        for sample, look in zip(dataset.samples, looks, strict=True)
        if look.problem is not None
    }
    where = f"split {dataset.split!r} at {size_px} px{canvas}"
    return [told_unanswered(problems, len(looks), where)] if problems else []


@dataclass(frozen=True, slots=True)
class _Looker:
    open_at: Opener
    targets: tuple[Target, ...]
    size_px: int
    threads: int
    advance: Advance

    def at(self, samples: Sequence[Sample], canvas: Canvas) -> list[Look]:
        parts = frozenset(Part.of(kind) for target in self.targets for kind in target.kinds)
        return look_at(
            samples, self.open_at, LookSpec(canvas, self.size_px, parts, self.threads), self.advance
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """A split and both kinds of looks at it."""

    test: Dataset
    targets: tuple[Target, ...]
    group: NDArray[np.int64]
    framed: Sequence[Look]
    looks: Sequence[Look]


def _size_score(seen: _Seen, chosen: Mapping[str, float], size_px: int) -> SizeScore:
    samples = seen.test.samples
    scores = _scores(seen.targets, samples, seen.looks)
    thresholds = {target.name: chosen.get(target.name, SHOWN_AT) for target in seen.targets}
    # What is claimed wrongly is told by the classes that raise alarms; without any by all that are scored.
    alarms = tuple(target for target in seen.targets if target.alarms)
    negative = _negative(samples, Part.FIRE if alarms else Part.PEOPLE)
    deciding = {target.name: thresholds[target.name] for target in alarms or seen.targets}
    claimed = claimed_at(scores, negative, deciding)
    product = {target.name: _matches(target, samples, seen.looks) for target in seen.targets}
    luma = np.array([look.luma for look in seen.looks])
    context = (scores, thresholds, negative, claimed)
    return SizeScore(
        size_px,
        tuple(
            _class_score(seen, target, scores[target.name], product[target.name], chosen)
            for target in seen.targets
        ),
        int(negative.sum()),
        Share(int(claimed.sum()), int(negative.sum())) if chosen else None,
        tuple(
            row
            for name, matches in product.items()
            for row in by_height(name, matches, scores[name], thresholds[name])
        ),
        by_condition(luma, *context),
        by_note([sample.note for sample in samples], *context),
        _failures(seen, scores, thresholds, claimed),
        sum(
            bool(look.problem or framed.problem) for look, framed in zip(seen.looks, seen.framed, strict=True)
        ),
    )


def _class_score(
    seen: _Seen, target: Target, scores: Scores, product: Matches, chosen: Mapping[str, float]
) -> ClassScore:
    framed = _matches(target, seen.test.samples, seen.framed)
    negative = _negative(seen.test.samples, Part.of(target.kinds[0]))
    threshold = chosen.get(target.name, SHOWN_AT)
    return ClassScore(
        name=target.name,
        labels=len(framed.label_picture),
        pictures=int(scores.shows.sum()),
        ap50=ap50(framed),
        ci95=interval(framed, seen.group),
        ap50_product=ap50(product),
        curve=curve(framed),
        at_one_percent=recall_at(scores, negative, SHARE_FOR_RECALL) if target.alarms else None,
        threshold=threshold,
        chosen=target.name in chosen,
        found=found_at(scores, threshold),
        claimed=Share(int((scores.score[negative] >= threshold).sum()), int(negative.sum())),
        by_claims=recall_by_claims(scores, negative) if target.alarms else [],
    )


def _matches(target: Target, samples: Sequence[Sample], looks: Sequence[Look]) -> Matches:
    boxes = [target.boxes(look.seen) for look in looks]
    return match(
        [target.labels(sample) for sample in samples],
        [box.xyxy for box in boxes],
        [box.confidence for box in boxes],
    )


def _scores(targets: Sequence[Target], samples: Sequence[Sample], looks: Sequence[Look]) -> dict[str, Scores]:
    return {
        target.name: Scores(
            np.array([look.seen.of(*target.kinds).confidence.max(initial=0.0) for look in looks], np.float64),
            np.array([len(target.labels(sample)) > 0 for sample in samples], np.bool_),
        )
        for target in targets
    }


def _negative(samples: Sequence[Sample], part: Part) -> NDArray[np.bool_]:
    """Tell which pictures show no class of a part."""
    kinds = [kind for kind in ObjectClass if Part.of(kind) is part]
    return np.array([not np.isin(sample.class_id, kinds).any() for sample in samples], np.bool_)


def _groups(samples: Sequence[Sample]) -> NDArray[np.int64]:
    _, number = np.unique([sample.group for sample in samples], return_inverse=True)
    return np.asarray(number, np.int64)


def _failures(
    seen: _Seen, scores: Mapping[str, Scores], thresholds: Mapping[str, float], claimed: NDArray[np.bool_]
) -> tuple[Failure, ...]:
    """Return the missed pictures of each class, the lowest scores first, then claimed negatives, the highest first."""

    def failure(what: str, at: int, score: float) -> Failure:
        return Failure(what, seen.test.samples[at], seen.looks[at], score)

    missed = []
    for name, one in scores.items():
        which = np.flatnonzero(one.shows & (one.score < thresholds[name]))
        missed += [failure(name, int(at), float(one.score[at])) for at in which[np.argsort(one.score[which])]]
    over = np.max([one.score / thresholds[name] for name, one in scores.items()], axis=0)
    wrong = np.flatnonzero(claimed)
    return (*missed, *(failure("", int(at), float(over[at])) for at in wrong[np.argsort(-over[wrong])]))
