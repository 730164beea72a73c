"""Lines over an axis, with bands of bounds, marked points and a legend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from calkd_edge.release.report.figures.plot import LETTER, SMALL, WIDE, Plot, shortened, text
from calkd_edge.release.report.figures.scale import Scale

Kind = Literal["first", "second", "third", "fourth"]
"""How a line is drawn: each has its colour and its dashes."""


@dataclass(frozen=True)
class Line:
    """A line through points, with bounds of each where `band` has them."""

    name: str
    points: tuple[tuple[float, float], ...]
    kind: Kind
    band: tuple[tuple[float, float, float], ...] = ()
    """(x, low, high)"""


@dataclass(frozen=True)
class Dot:
    """A marked point with a short text."""

    x: float
    y: float
    label: str
    hover: str


def curves(
    lines: Sequence[Line],
    *,
    x: Scale,
    y: Scale,
    title: str,
    description: str,
    dots: Sequence[Dot] = (),
    is_wide: bool = False,
) -> str:
    """Lines as SVG, their names above the frame.

    Args:
        lines: some; one of a single point is drawn as a dot.
        x: horizontal scale.
        y: vertical scale.
        title: names the figure.
        description: says in words what it shows.
        dots: marked points.
        is_wide: whether it stands alone or beside one other.
    """
    width, height = (WIDE, 280) if is_wide else (SMALL, 190)
    letter = LETTER * (1.1 if is_wide else 1.0)
    names, rows = _legend([(line.kind, line.name) for line in lines], width, letter)
    plot = Plot(width, height + 16 * rows, x, y, left=44, top=10 + 16 * rows)
    shapes = [*plot.frame(), *names]
    for line in lines:
        if line.band:
            upper = [(at, high) for at, _, high in line.band]
            lower = [(at, low) for at, low, _ in reversed(line.band)]
            shapes.append(plot.path([*upper, *lower], "band", closed=True))
    for line in lines:
        if len(line.points) == 1:
            shapes.append(plot.dot(*line.points[0], f"dot {line.kind}"))
        elif line.points:
            shapes.append(plot.path(line.points, f"line {line.kind}"))
    for dot in dots:
        shapes.append(plot.dot(dot.x, dot.y, "dot", dot.hover))
        at, is_left = plot.across(dot.x), plot.across(dot.x) - plot.left < 10 + letter * len(dot.label)
        side, anchor = (7, "start") if is_left else (-7, "end")
        shapes.append(text("tick halo", at + side, plot.up(dot.y) + 14, dot.label, anchor=anchor))
    return plot.svg(shapes, title=title, description=description)


def _legend(entries: Sequence[tuple[Kind, str]], width: float, letter: float) -> tuple[list[str], int]:
    """A sample and the name of each line, in as many rows as they need."""
    out: list[str] = []
    x, row = 44.0, 0
    for kind, name in entries:
        shown = shortened(name, 34)
        needed = 24 + letter * len(shown) + 12
        if x > 44 and x + needed > width:
            x, row = 44.0, row + 1
        y = 10 + 16 * row
        out.append(f'<path class="line {kind}" d="M{x:.1f} {y}h18"/>')
        out.append(text("tick", x + 23, y + 4, shown))
        x += needed
    return out, row + 1
