# SPDX-License-Identifier: AGPL-3.0-or-later
"""`gridwatch models evaluate`: a network against labelled pictures. Scores as a table, JSON and a page to look at."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Column, Table

from gridwatch.app.bars import progress_bars
from gridwatch.core.detections import ObjectClass
from gridwatch.core.errors import InputError
from models.backends.choose import Asked
from models.catalogue import Catalogue
from models.evaluation.counting import CountScores, is_counts, load_counts, score_counts
from models.evaluation.datasets import Dataset, has_split, is_boxes, load_dataset
from models.evaluation.errors import DatasetError
from models.evaluation.looking import Advance
from models.evaluation.report import no_answer, write_boxes_report, write_counts_report
from models.evaluation.scoring import BoxScores, SizeScore, Spec, looks_needed, score_boxes
from models.evaluation.written import Ran, boxes_json, counts_json, write_json
from models.letterbox import STRIDE_PX
from models.network import Network, NetworkSettings

# As Ultralytics' validator: every box that is more than noise, of every class.
LEAST_CONFIDENCE = 0.001
OVERLAP = 0.7
# What AP50 of fire and smoke is stated at, here and in the model card: their pictures show fires larger than cameras do.
STATED_PX = 512
LEAST_PX, MOST_PX = 64, 1920
CHOOSE_ON = "val"
REPORTS = Path("out/models")


@dataclass(frozen=True, slots=True)
class EvaluateOptions:
    """What the command line says; None and () leave a choice to the network or the data set.

    `choose_on` None is the split `val` where there is one.
    """

    dataset: Path
    split: str = "test"
    choose_on: str | None = None
    sizes_px: tuple[int, ...] = ()
    only: tuple[str, ...] = ()
    network: str | None = None
    catalogue: Path | None = None
    asked: Asked = field(default_factory=Asked)
    json_out: Path | None = None
    report: Path | None = None


def evaluate_models(options: EvaluateOptions) -> None:
    """Score the network, print a table, write the JSON if asked, and the report.

    Raises:
        InputError: the data set, the network or an option is wrong.
    """
    folder = options.dataset.parent if options.dataset.is_file() else options.dataset
    if not folder.is_dir():
        raise DatasetError(
            "no such data set: name a folder with data.yaml, or with a MANIFEST.tsv of counts", file=folder
        )
    opener = _Opener(options, Catalogue.load(options.catalogue))
    for size_px in options.sizes_px:
        if not LEAST_PX <= size_px <= MOST_PX or size_px % STRIDE_PX:
            raise InputError(f"a size is a multiple of 32 from {LEAST_PX} to {MOST_PX}, got {size_px}")
    if is_boxes(folder):
        _boxes(folder, options, opener)
    elif is_counts(folder):
        _counts(folder, options, opener)
    else:
        raise DatasetError(
            "is no data set: it needs data.yaml (boxes) or a MANIFEST.tsv with a column `count` (persons)",
            file=folder,
        )


class _Opener:
    """Opens the network at a size, and remembers what ran."""

    def __init__(self, options: EvaluateOptions, catalogue: Catalogue) -> None:
        self._options, self._catalogue = options, catalogue
        entry = catalogue.entry(options.network)
        self.own_px = entry.input.long_side_px
        self.tells = frozenset(kind for head in entry.heads for kind in head.columns)
        self.threads = (
            len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        )
        self.ran: Ran | None = None
        self.described: dict[str, None] = {}  # one line a size, in their order

    def __call__(self, long_side_px: int) -> Network:
        settings = NetworkSettings(
            least_confidence=LEAST_CONFIDENCE,
            overlap=OVERLAP,
            every_class=True,
            long_side_px=long_side_px,
            asked=self._options.asked,
        )
        network = Network.open(
            self._options.network, threads=self.threads, settings=settings, catalogue=self._catalogue
        )
        self.ran = Ran(network.name, network.sha256, network.device)
        self.described[network.describe()] = None
        return network


def _boxes(folder: Path, options: EvaluateOptions, opener: _Opener) -> None:
    test = load_dataset(folder, options.split)
    sizes_px = options.sizes_px or _usual_sizes(test.classes & opener.tells, opener.own_px)
    spec = Spec(sizes_px, opener.threads, options.only, opener.tells)
    choose = _split_to_choose_on(folder, options.choose_on)
    with _progress(looks_needed(test, choose, spec)) as advance:
        scores = score_boxes(test, choose, opener, spec, advance)
    assert opener.ran is not None
    result = boxes_json(scores, opener.ran)
    console = Console()
    for size in scores.sizes:
        console.print(_class_table(scores, size), markup=False)
        console.print(_claims(scores, size), markup=False, soft_wrap=True)
    _finish(console, options, opener, result, scores.notes)
    page = write_boxes_report(scores, opener.ran, _report_folder(options, folder, opener.ran))
    console.print(f"report: {page}", markup=False, soft_wrap=True)


def _usual_sizes(classes: frozenset[ObjectClass], own_px: int) -> tuple[int, ...]:
    """Return the sizes to score at where nobody says: fires at the size their figures are stated for, then the network's own."""
    if not classes & {ObjectClass.FIRE, ObjectClass.SMOKE} or own_px == STATED_PX:
        return (own_px,)
    return (STATED_PX, own_px)


def _counts(folder: Path, options: EvaluateOptions, opener: _Opener) -> None:
    counts = load_counts(folder, options.split)
    if len(options.sizes_px) > 1 or options.only:
        raise InputError(
            "a set with counts is scored at one size, and has no classes to choose from", file=folder
        )
    size_px = options.sizes_px[0] if options.sizes_px else opener.own_px
    network = opener(size_px)
    with _progress(len(counts.samples)) as advance:
        scores = score_counts(counts, network, size_px, threads=opener.threads, advance=advance)
    assert opener.ran is not None
    console = Console()
    console.print(_count_table(scores), markup=False)
    if scores.unanswered:
        console.print(no_answer(scores.unanswered), markup=False, soft_wrap=True)
    _finish(console, options, opener, counts_json(scores, opener.ran), scores.notes)
    page = write_counts_report(scores, opener.ran, _report_folder(options, folder, opener.ran))
    console.print(f"report: {page}", markup=False, soft_wrap=True)


def _split_to_choose_on(folder: Path, split: str | None) -> Dataset | None:
    """Return the split; None where nobody names one and there is no `val`."""
    if split is None and not has_split(folder, CHOOSE_ON):
        return None
    return load_dataset(folder, split or CHOOSE_ON)


def _finish(
    console: Console,
    options: EvaluateOptions,
    opener: _Opener,
    result: dict[str, object],
    notes: tuple[str, ...],
) -> None:
    for line in opener.described:
        console.print(line, markup=False, soft_wrap=True)
    for note in notes:
        console.print(f"note: {note}", markup=False, soft_wrap=True)
    if options.json_out:
        write_json(result, options.json_out)


def _report_folder(options: EvaluateOptions, folder: Path, ran: Ran) -> Path:
    return options.report or REPORTS / f"{folder.resolve().name}-{options.split}-{ran.name}"


def _class_table(scores: BoxScores, size: SizeScore) -> Table:
    table = Table(
        Column("class", no_wrap=True), "boxes", "AP50", Column("95 %", no_wrap=True), "pictures", "at 1 %", "threshold", "recall",
        title=f"{scores.dataset.name} {scores.dataset.split} at {size.size_px} px", box=SIMPLE_HEAD, title_justify="left", padding=(0, 1), pad_edge=False, collapse_padding=True,
    )  # fmt: skip
    for one in size.classes:
        recall = "–" if one.at_one_percent is None else f"{one.at_one_percent[1].share:.1%}"
        interval = "–" if one.ci95 is None else f"{one.ci95[0]:.3f}–{one.ci95[1]:.3f}"
        threshold = f"{one.threshold:.3f}" if one.chosen else f"({one.threshold:.2f})"
        table.add_row(
            one.name, str(one.labels), f"{one.ap50:.3f}", interval, str(one.pictures), recall, threshold, f"{one.found.share:.1%}"
        )  # fmt: skip
    return table


def _claims(scores: BoxScores, size: SizeScore) -> str:
    unanswered = f"\n{no_answer(size.unanswered)}" if size.unanswered else ""
    if size.claimed is None:
        return f"{size.negatives} negatives; no operating point{unanswered}"
    return (
        f"{size.claimed.found} of {size.negatives} negatives claimed"
        f" at the thresholds chosen on {scores.chosen_on!r}{unanswered}"
    )


def _count_table(scores: CountScores) -> Table:
    table = Table(
        "pictures of", "pictures", "persons", "counted", "relative error", "error (persons)",
        title=f"{scores.folder.name} {scores.split} at {scores.size_px} px", box=SIMPLE_HEAD, title_justify="left", padding=(0, 1), pad_edge=False, collapse_padding=True,
    )  # fmt: skip
    for group in scores.groups:
        table.add_row(
            group.name, str(len(group.counts)), f"{group.true_sum:.0f}", f"{group.counted_sum:.0f}",
            f"{group.mean_relative_error:.1%}", f"{group.mean_absolute_error:.1f}",
        )  # fmt: skip
    return table


@contextmanager
def _progress(total: int) -> Iterator[Advance]:
    with progress_bars() as progress:
        task = progress.add_task("looks", total=total)
        yield lambda: progress.advance(task)
