"""Values with bounds, a row each on one axis: latencies, recalls, differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

from calkd_edge.files.visible import visible
from calkd_edge.release.report.figures.plot import LETTER, WIDE, Plot, shortened, text
from calkd_edge.release.report.figures.scale import Scale

LONGEST_NAME = 28
_ROW = 26


MarkKind = Literal["full", "ring", "diamond"]


@dataclass(frozen=True)
class Mark:
    """A value with its bounds; drawn full, as a ring or as a diamond."""

    value: float
    low: float
    high: float
    kind: MarkKind
    hover: str


@dataclass(frozen=True)
class Row:
    """A name and its values."""

    name: str
    marks: tuple[Mark, ...]


def rows(
    lines: Sequence[Row],
    *,
    x: Scale,
    title: str,
    description: str,
    bars: bool = False,
    stacked: bool = False,
    line_at: float | None = None,
) -> str:
    """Rows of values as SVG.

    Args:
        lines: one or more.
        x: the axis of all values.
        title: names the figure.
        description: says in words what it shows.
        bars: whether a bar leads from the start of the axis to the first value.
        stacked: whether the values of a row stand below each other, because they overlap.
        line_at: a value at which a vertical line stands.
    """
    names = [shortened(line.name, LONGEST_NAME) for line in lines]
    left = 14 + LETTER * 1.1 * max(map(len, names), default=0)
    step = _ROW if not stacked else 12 + 10 * max((len(line.marks) for line in lines), default=1)
    y = Scale(len(lines), 0, (), "")
    plot = Plot(WIDE, 50 + step * len(lines), x, y, left=left, top=10, bottom=40)
    shapes = [*_grid(plot), *plot.frame(y_ticks=False)]
    if line_at is not None:
        shapes.append(plot.line(line_at, 0, line_at, len(lines), "ideal"))
    for index, (line, name) in enumerate(zip(lines, names, strict=True)):
        middle = plot.up(index + 0.5)
        shapes.append(text("tick", left - 8, middle + 4, name, anchor="end"))
        for k, mark in enumerate(line.marks):
            at = middle + (10 * (k - (len(line.marks) - 1) / 2) if stacked else 0)
            if bars and k == 0:
                shapes.append(_bar(plot, mark, at))
            shapes.append(_mark(plot, mark, at))
    return plot.svg(shapes, title=title, description=description)


def _grid(plot: Plot) -> list[str]:
    floor = plot.height - plot.bottom
    return [f'<path class="grid" d="M{plot.across(t):.1f} {plot.top:g}V{floor:g}"/>' for t in plot.x.ticks]


def _bar(plot: Plot, mark: Mark, y: float) -> str:
    width = plot.across(mark.value) - plot.left
    return f'<rect class="mass" x="{plot.left:.1f}" y="{y - 6:.1f}" width="{width:.1f}" height="12"/>'


def _mark(plot: Plot, mark: Mark, y: float) -> str:
    """The bounds as a line, and the value on it."""
    x, low, high = plot.across(mark.value), plot.across(mark.low), plot.across(mark.high)
    ends = "".join(f"M{end:.1f} {y - 3:.1f}v6" for end in (low, high))
    bounds = f'<path class="bar" d="M{low:.1f} {y:.1f}H{high:.1f}{ends}"/>'
    tip = f"<title>{escape(visible(mark.hover))}</title>"
    if mark.kind == "diamond":
        diamond = f"M{x:.1f} {y - 4.5:.1f}l4.5 4.5l-4.5 4.5l-4.5 -4.5Z"
        return f'{bounds}<path class="dot" d="{diamond}">{tip}</path>'
    kind = "dot" if mark.kind == "full" else "ring"
    return f'{bounds}<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="3.6">{tip}</circle>'
