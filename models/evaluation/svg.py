# SPDX-License-Identifier: AGPL-3.0-or-later
"""Line charts as inline SVG, for pages that must stand alone. Draws lines and marks; knows nothing of networks."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 460, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 30, 44
_TICKS = 5
MOST_POINTS = 500

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Line:
    """One line, or dots, with an optional mark; `colour` as CSS has it."""

    name: str
    colour: str
    points: Sequence[Point]
    mark: Point | None = None
    dots: bool = False


@dataclass(frozen=True, slots=True)
class Chart:
    """What is drawn. Axes begin at 0 and end at `x_most` and `y_most`."""

    title: str
    x_label: str
    y_label: str
    lines: Sequence[Line]
    x_most: float = 1.0
    y_most: float = 1.0


def line_chart(chart: Chart) -> str:
    """Return the chart as an SVG element with a title for screen readers."""
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" class="chart">',
        f"<title>{escape(chart.title)}</title>",
        f'<text x="{_LEFT}" y="18" class="head">{escape(chart.title)}</text>',
        *_axes(chart),
        *(_line(chart, line) for line in chart.lines),
        *(_mark(chart, line) for line in chart.lines),
        "</svg>",
    ]
    return "".join(parts)


def legend(lines: Sequence[Line]) -> str:
    """Return the lines' names with their colours, as HTML."""
    items = "".join(f'<li><i style="background:{line.colour}"></i>{escape(line.name)}</li>' for line in lines)
    return f'<ul class="legend">{items}</ul>'


def _axes(chart: Chart) -> list[str]:
    parts = []
    for tick in range(_TICKS + 1):
        share = tick / _TICKS
        x, _ = _at(chart, (share * chart.x_most, 0))
        _, y = _at(chart, (0, share * chart.y_most))
        parts += [
            f'<line x1="{x:.1f}" y1="{_TOP}" x2="{x:.1f}" y2="{HEIGHT - _BOTTOM}" class="grid"/>',
            f'<line x1="{_LEFT}" y1="{y:.1f}" x2="{WIDTH - _RIGHT}" y2="{y:.1f}" class="grid"/>',
            f'<text x="{x:.1f}" y="{HEIGHT - _BOTTOM + 16}" class="mid">{share * chart.x_most:.4g}</text>',
            f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" class="end">{share * chart.y_most:.4g}</text>',
        ]
    middle = (_TOP + HEIGHT - _BOTTOM) / 2
    return [
        *parts,
        f'<text x="{(_LEFT + WIDTH - _RIGHT) / 2}" y="{HEIGHT - 8}" class="mid">{escape(chart.x_label)}</text>',
        f'<text x="14" y="{middle}" class="mid" transform="rotate(-90 14 {middle})">{escape(chart.y_label)}</text>',
    ]


def _line(chart: Chart, line: Line) -> str:
    points = _thinned([point for point in line.points if point[0] <= chart.x_most])
    if not points:
        return ""
    if line.dots:
        places = (_at(chart, point) for point in points)
        return "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{line.colour}"/>' for x, y in places)
    way = " ".join(f"{x:.1f},{y:.1f}" for x, y in (_at(chart, point) for point in points))
    return f'<polyline points="{way}" fill="none" stroke="{line.colour}" stroke-width="2"/>'


def _mark(chart: Chart, line: Line) -> str:
    if line.mark is None or line.mark[0] > chart.x_most:
        return ""
    x, y = _at(chart, line.mark)
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{line.colour}" class="mark"/>'


def _at(chart: Chart, point: Point) -> Point:
    x = _LEFT + point[0] / chart.x_most * (WIDTH - _LEFT - _RIGHT)
    y = HEIGHT - _BOTTOM - point[1] / chart.y_most * (HEIGHT - _TOP - _BOTTOM)
    return x, y


def _thinned(points: Sequence[Point]) -> Sequence[Point]:
    if len(points) <= MOST_POINTS:
        return points
    step = -(-len(points) // MOST_POINTS)
    return [*points[::step], points[-1]]
