# SPDX-License-Identifier: AGPL-3.0-or-later
"""Scores as a page to look at: curves, tables, and pictures of what went wrong."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from gridwatch.core.errors import InputError
from models.evaluation.alarms import Share
from models.evaluation.counting import CountScores
from models.evaluation.gallery import Shown, draw_failures
from models.evaluation.html import figures, page, section, table, text
from models.evaluation.scoring import SHOWN_AT, BoxScores, ClassScore, SizeScore
from models.evaluation.slices import NIGHT_BELOW, PictureRow
from models.evaluation.svg import Chart, Line, Point, legend, line_chart
from models.evaluation.written import Ran

PAGE = "index.html"
# Colours that stay apart for the colour-blind, nearly Okabe and Ito's (2008), on light and dark ground.
COLOURS = {
    "fire": "#d55e00", "smoke": "#1f83c9", "person": "#009e73", "car": "#cc79a7", "bus": "#e69f00", "truck": "#56b4e9",
    "bicycle": "#7a7a00", "motorcycle": "#8c564b", "any_vehicle": "#7f7f7f",
}  # fmt: skip
_CLAIMED_SHOWN = 0.2


def write_boxes_report(scores: BoxScores, ran: Ran, folder: Path) -> Path:
    """Write the page and its pictures into `folder`; return the page.

    Raises:
        InputError: it cannot be written.
    """
    main = scores.sizes[0]
    parts = [
        section("Scores", _classes(main), text(_rule(scores, main)), text(no_answer(main.unanswered))),
        section("Sizes of the input", _sizes(scores.sizes)) if len(scores.sizes) > 1 else "",
        section("Curves", _curves(main)),
        section("By height of the thing", text(_heights_rule()), _heights(main)),
        section("By condition", text(_night_rule()), _rows("pictures of", main.conditions)),
        section("By the manifest's note", _rows("note", main.notes)) if main.notes else "",
        *_failures(main, draw_failures(main.failures, folder)),
        section("Notes", *map(text, scores.notes)) if scores.notes else "",
    ]
    title = f"{ran.name} on {scores.dataset.name}, split {scores.dataset.split}"
    return _write(folder, page(title, _subtitle(ran, main.size_px, len(scores.dataset.samples)), parts))


def write_counts_report(scores: CountScores, ran: Ran, folder: Path) -> Path:
    """Write the page of a set with counts into `folder`; return the page.

    Raises:
        InputError: it cannot be written.
    """
    parts = []
    for group in scores.groups:
        rows = [
            [one.file.name, f"{one.true:.0f}", f"{one.counted:.1f}", f"{one.counted - one.true:+.1f}"]
            for one in group.counts
        ]
        summary = (
            f"{len(group.counts)} pictures; mean relative error {group.mean_relative_error:.1%}{_span(group.relative_ci95)},"
            f" mean error {group.mean_absolute_error:.1f} persons{_span(group.absolute_ci95)};"
            f" {group.counted_sum:.0f} counted of {group.true_sum:.0f}"
        )
        points = [(one.true, one.counted) for one in sorted(group.counts, key=lambda one: one.true)]
        parts.append(
            section(
                group.name,
                text(summary),
                _count_chart(points),
                table(["picture", "persons", "counted", "error"], rows),
            )
        )
    parts.append(section("Notes", *map(text, scores.notes)) if scores.notes else "")
    title = f"{ran.name} on {scores.folder.name}, split {scores.split}: counting"
    pictures = sum(len(group.counts) for group in scores.groups)
    return _write(folder, page(title, _subtitle(ran, scores.size_px, pictures), parts))


def no_answer(unanswered: int) -> str:
    """Return how many pictures got no answer, as a sentence; empty for none."""
    return (
        f"Without an answer: {unanswered}; they count as pictures in which nothing was seen."
        if unanswered
        else ""
    )


def _write(folder: Path, html: str) -> Path:
    file = folder / PAGE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file.write_text(html, encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", file=file) from error
    return file


def _subtitle(ran: Ran, size_px: int, pictures: int) -> str:
    return f"{pictures} pictures; input {size_px} px; weights {ran.sha256[:12]}; {ran.device}"


def _rule(scores: BoxScores, main: SizeScore) -> str:
    if main.claimed is None:
        return f"No operating point was chosen; recall and tables are at confidence {SHOWN_AT}. {main.negatives} negatives."
    return (
        f"{main.claimed.found} of {main.negatives} negatives claimed{_span(main.claimed.ci95)} at the operating point, which was"
        f" chosen on split {scores.chosen_on!r}. Average precision on the validator's canvas (a grey border), everything"
        " else on the product's own."
    )


def _heights_rule() -> str:
    return "Shares of the picture's height. A box is found at IoU 0.5 and its class's threshold; a picture, by its largest thing, at the threshold."


def _night_rule() -> str:
    return f"Night is a mean luma below {NIGHT_BELOW:.0f} of 255."


def _classes(size: SizeScore) -> str:
    columns = [
        "class", "boxes", "AP50", "95 %", "AP50, product's canvas", "pictures", "recall at 1 % of negatives", "threshold", "recall", "95 %",
    ]  # fmt: skip
    return table(columns, [_class_row(one) for one in size.classes])


def _class_row(one: ClassScore) -> list[str]:
    return [
        one.name, str(one.labels), f"{one.ap50:.3f}", "–" if one.ci95 is None else _interval(one.ci95), f"{one.ap50_product:.3f}",
        str(one.pictures), "–" if one.at_one_percent is None else _percent(one.at_one_percent[1]),
        f"{one.threshold:.3f}" if one.chosen else f"({one.threshold:g})", _percent(one.found),
        "–" if one.found.ci95 is None else _interval(one.found.ci95),
    ]  # fmt: skip


def _sizes(sizes: Sequence[SizeScore]) -> str:
    rows = []
    for size in sizes:
        claimed = "–" if size.claimed is None else f"{size.claimed.found} of {size.negatives}"
        for one in size.classes:
            recall = "–" if one.at_one_percent is None else _percent(one.at_one_percent[1])
            rows.append(
                [f"{size.size_px} px, {one.name}", f"{one.ap50:.3f}", recall, _percent(one.found), claimed]
            )
    return table(
        [
            "size and class",
            "AP50",
            "recall at 1 % of negatives",
            "recall at the threshold",
            "negatives claimed",
        ],
        rows,
    )


def _curves(size: SizeScore) -> str:
    precision = [
        Line(f"{one.name} (AP50 {one.ap50:.3f})", _colour(one), _points(one)) for one in size.classes
    ]
    cards = [
        _card(Chart("Precision and recall of boxes (IoU 0.5)", "recall", "precision", precision)),
    ]
    alarms = [
        Line(one.name, _colour(one), one.by_claims, _operating(one)) for one in size.classes if one.by_claims
    ]
    if alarms:
        title = "Recall of pictures against false alarms"
        cards.append(
            _card(Chart(title, "share of negatives claimed", "pictures found", alarms, _CLAIMED_SHOWN))
        )
    return f'<div class="charts">{"".join(cards)}</div>'


def _card(chart: Chart) -> str:
    return f'<div class="card">{line_chart(chart)}{legend(chart.lines)}</div>'


def _colour(one: ClassScore) -> str:
    return COLOURS.get(one.name, "#444444")


def _points(one: ClassScore) -> list[Point]:
    """Return the curve where recall grows: between, precision only falls."""
    points, last = [], -1.0
    for recall, precision in zip(one.curve.recall.tolist(), one.curve.precision.tolist(), strict=True):
        if recall > last:
            points.append((recall, precision))
            last = recall
    return points


def _operating(one: ClassScore) -> Point | None:
    if not one.chosen or one.claimed.share is None or one.found.share is None:
        return None
    return one.claimed.share, one.found.share


def _heights(size: SizeScore) -> str:
    rows = [
        [
            f"{row.name}, {row.size}",
            str(row.boxes.of),
            _percent(row.boxes),
            str(row.pictures.of),
            _percent(row.pictures),
        ]
        for row in size.heights
        if row.boxes.of
    ]
    return table(["class and height", "boxes", "boxes found", "pictures", "pictures found"], rows)


def _rows(first: str, rows: Sequence[PictureRow]) -> str:
    names = list(rows[0].found) if rows else []
    columns = [first, "pictures", *(f"{name} found" for name in names), "negatives claimed"]
    return table(
        columns,
        [
            [
                row.name,
                str(row.pictures),
                *(f"{row.found[name].found} of {row.found[name].of}" for name in names),
                f"{row.claimed.found} of {row.claimed.of}",
            ]
            for row in rows
        ],
    )


def _failures(size: SizeScore, shown: Sequence[Shown]) -> Iterator[str]:
    yield section(
        "What went wrong",
        text("Green: labelled. Orange: what the network saw, the strongest six from 0.02 on."),
    )
    for what in dict.fromkeys(one.what for one in shown):
        of = sum(failure.what == what for failure in size.failures)
        title = f"Missed {what}" if what else "Claimed negatives"
        pictures = [(one.picture, one.caption) for one in shown if one.what == what]
        yield f"<h3>{title}: {len(pictures)} of {of}</h3>{figures(pictures)}"


def _count_chart(points: Sequence[Point]) -> str:
    largest = max([1.0, *(max(point) for point in points)])
    step = 5 * 10.0 ** math.floor(math.log10(largest) - 1)
    most = math.ceil(largest / step) * step  # so that the fifths of an axis are round
    lines = [
        Line("as many as there are", "#7f7f7f", [(0, 0), (most, most)]),
        Line("counted", COLOURS["person"], points, dots=True),
    ]
    return f'<div class="charts">{_card(Chart("Counted against persons", "persons", "counted", lines, most, most))}</div>'


def _percent(share: Share) -> str:
    return "–" if share.share is None else f"{share.share:.1%} ({share.found})"


def _interval(pair: tuple[float, float]) -> str:
    return f"{pair[0]:.3f}–{pair[1]:.3f}"


def _span(pair: tuple[float, float] | None) -> str:
    if pair is None or math.isnan(pair[0]):
        return ""
    return f" (95 %: {pair[0]:.3f} to {pair[1]:.3f})"
