"""Accuracy against latency: a circle for each file, as large as the file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from calkd_edge.records import Estimate
from calkd_edge.release.report.figures.plot import LETTER, WIDE, Plot, shortened, text
from calkd_edge.release.report.figures.scale import shares, spanning
from calkd_edge.release.report.numbers import milliseconds, percent, size

HEIGHT = 320
LARGEST = 17.0
"""Radius of the largest file's circle."""

Rectangle = tuple[float, float, float, float]
"""Left, top, right, bottom."""


@dataclass(frozen=True)
class Option:
    """A file that could ship: its median latency in milliseconds, top-1 and size in bytes."""

    name: str
    p50: Estimate
    top1: Estimate
    bytes: int
    recommended: bool = False


def tradeoff(options: Sequence[Option], *, title: str) -> str:
    """Top-1 against median latency as SVG, both with bounds; a circle's area shows the file's size.

    Args:
        options: one or more, on option device.
        title: names the figure.
    """
    spread = [value for option in options for value in (option.p50.low, option.p50.high)]
    x = spanning(spread, "latency, p50 (ms)", may_be_log=True)
    tops = [value for option in options for value in (option.top1.low, option.top1.high)]
    margin = 0.12 * (max(tops) - min(tops)) or 0.01
    y = shares("top-1", low=max(min(tops) - margin, 0.0), high=min(max(tops) + margin, 1.0))
    plot = Plot(WIDE, HEIGHT, x, y, left=48)
    largest = max(option.bytes for option in options) or 1
    radius = [max(LARGEST * math.sqrt(option.bytes / largest), 4.0) for option in options]
    shapes = plot.frame()
    for option, r in zip(options, radius, strict=True):
        kind = "size shipped" if option.recommended else "size"
        shapes.append(plot.dot(option.p50.value, option.top1.value, kind, _sentence(option), r))
        shapes.append(plot.line(option.p50.low, option.top1.value, option.p50.high, option.top1.value, "bar"))
        shapes.append(plot.line(option.p50.value, option.top1.low, option.p50.value, option.top1.high, "bar"))
    centres = [(plot.across(option.p50.value), plot.up(option.top1.value)) for option in options]
    circles = [(x0 - r, y0 - r, x0 + r, y0 + r) for (x0, y0), r in zip(centres, radius, strict=True)]
    crosses = [_cross(plot, option) for option in options]
    labels = [f"{shortened(option.name, 22)}, {size(option.bytes)}" for option in options]
    shapes += _labels(labels, circles, [*circles, *(box for cross in crosses for box in cross)], plot)
    return plot.svg(shapes, title=title, description=f"{'; '.join(map(_sentence, options))}.")


def _sentence(option: Option) -> str:
    shipped = " (recommended)" if option.recommended else ""
    return (
        f"{option.name}{shipped}: top-1 {percent(option.top1.value)} "
        f"[{percent(option.top1.low)}, {percent(option.top1.high)}], p50 {milliseconds(option.p50.value)} "
        f"[{milliseconds(option.p50.low)}, {milliseconds(option.p50.high)}], {size(option.bytes)}"
    )


def _cross(plot: Plot, option: Option) -> list[Rectangle]:
    """The strips that the bounds of a file take."""
    x, y = plot.across(option.p50.value), plot.up(option.top1.value)
    return [
        (plot.across(option.p50.low), y - 2, plot.across(option.p50.high), y + 2),
        (x - 2, plot.up(option.top1.high), x + 2, plot.up(option.top1.low)),
    ]


def _labels(
    names: Sequence[str], circles: Sequence[Rectangle], taken: Sequence[Rectangle], plot: Plot
) -> list[str]:
    """The names beside their circles, where they cover the least of what is drawn."""
    occupied = list(taken)
    out = []
    for name, circle in zip(names, circles, strict=True):
        width = LETTER * 1.1 * len(name)
        choices = [(gap, box) for gap in (3, 12, 24) for box in _beside(circle, width, gap, plot)]
        _, best = min(choices, key=lambda choice: 12 * choice[0] + _covered(choice[1], occupied))
        occupied.append(best)
        out.append(text("tick halo", best[0], best[3] - 3, name))
    return out


def _beside(circle: Rectangle, width: float, gap: float, plot: Plot) -> list[Rectangle]:
    """Places for a text of this width around a circle, inside the frame."""
    left, top, right, bottom = circle
    x, y = (left + right) / 2, (top + bottom) / 2
    starts = [
        (right + gap, y - 7),
        (left - gap - width, y - 7),
        (right + gap, y - gap - 16),
        (right + gap, y + gap + 2),
        (left - gap - width, y - gap - 16),
        (left - gap - width, y + gap + 2),
        (x - width / 2, top - gap - 14),
        (x - width / 2, bottom + gap),
    ]
    most_left, most_right = plot.left + 4, plot.width - width
    inside = [(min(max(a, most_left), most_right), b) for a, b in starts]
    floor = plot.height - plot.bottom
    return [(a, b, a + width, b + 14) for a, b in inside if b > 0 and b + 14 < floor]


def _covered(box: Rectangle, occupied: Sequence[Rectangle]) -> float:
    """The area that a text would share with what is drawn."""
    return sum(_overlap(box, other) for other in occupied)


def _overlap(a: Rectangle, b: Rectangle) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    return width * height if width > 0 and height > 0 else 0.0
