"""Scatter plots of the study as SVG files that stand alone, light and dark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from calkd_edge.release.report.figures.plot import Plot, text
from calkd_edge.release.report.figures.scale import Scale, spanning

STYLE = """<style>
svg{font:11px system-ui,sans-serif;background:#fff;color:#1d232b}
text{fill:currentColor}.name{font-weight:600}.grid{stroke:#8886;stroke-width:.5}.axis{stroke:currentColor;fill:none}
.first{fill:#1f6fb4}.second{fill:#c2571a}.zero{stroke:currentColor;stroke-dasharray:4 3}.error{stroke-width:2}
.error.first{stroke:#1f6fb4}.error.second{stroke:#c2571a}
@media (prefers-color-scheme:dark){svg{background:#15191f;color:#e6e9ee}
.first{fill:#6db3f2}.second{fill:#f2a06d}
.error.first{stroke:#6db3f2}.error.second{stroke:#f2a06d}}
</style>"""
WIDTH, HEIGHT = 560.0, 330.0
KINDS = ("first", "second")


@dataclass(frozen=True)
class Points:
    """Dots of one kind: a name for the legend, positions, and what each is."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    labels: Sequence[str]


def scatter(groups: Sequence[Points], *, x_name: str, y_name: str, title: str, description: str) -> str:
    """Dots over two axes in per cent, a legend above."""
    x = spanning([100 * value for group in groups for value in group.x], x_name)
    y = spanning([100 * value for group in groups for value in group.y], y_name)
    plot = Plot(WIDTH, HEIGHT, x, y, left=54, top=30)
    shapes = plot.frame()
    for kind, group, at in zip(KINDS, groups, (60, 240), strict=False):
        shapes.append(f'<circle class="{kind}" cx="{at}" cy="14" r="4"/>')
        shapes.append(text("tick", at + 9, 18, group.name))
        for across, up, label in zip(group.x, group.y, group.labels, strict=True):
            shapes.append(plot.dot(100 * across, 100 * up, kind, label))
    return _alone(plot.svg(shapes, title=title, description=description))


@dataclass(frozen=True)
class Bar:
    """A difference with its bounds, and its name."""

    name: str
    value: float
    low: float
    high: float


def differences(bars: Sequence[Bar], *, x_name: str, title: str, description: str) -> str:
    """Differences with their intervals, one a line, and a line at zero."""
    bounds = [100 * value for bar in bars for value in (bar.low, bar.high)]
    x = spanning([0.0, *bounds], x_name)
    y = Scale(0.0, float(len(bars)), (), "")
    plot = Plot(WIDTH, 56.0 + 26 * len(bars), x, y, left=200)
    shapes = [*plot.frame(y_ticks=False), plot.line(0, 0, 0, len(bars), "zero")]
    for number, bar in enumerate(bars):
        up = len(bars) - number - 0.5
        shapes.append(text("tick", 190, plot.up(up) + 4, bar.name, anchor="end"))
        shapes.append(plot.line(100 * bar.low, up, 100 * bar.high, up, "error first"))
        hover = f"{100 * bar.value:+.2f} [{100 * bar.low:+.2f}, {100 * bar.high:+.2f}]"
        shapes.append(plot.dot(100 * bar.value, up, "first", hover))
    return _alone(plot.svg(shapes, title=title, description=description))


def _alone(svg: str) -> str:
    """A drawing as a file of its own."""
    head, end, rest = svg.partition(">")
    return head.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"') + end + STYLE + rest + "\n"
