"""Figures as inline SVG: no script, readable in print, in the dark and by a screen reader.

Colours come from the page's CSS variables; every figure carries a title and a description.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from html import escape

from calkd_edge.records import LatencySummary, Quality
from calkd_edge.release.report.numbers import milliseconds, percent

WIDTH, HEIGHT = 270, 260
LEFT, TOP, RIGHT, BOTTOM = 40, 12, 10, 34


def reliability(quality: Quality, *, title: str) -> str:
    """A reliability diagram as SVG: accuracy against confidence per bin, exact bounds, images per bin.

    Args:
        quality: its bins are drawn; faint strokes mark bins of fewer than 1 % of the images.
        title: names the model.
    """
    plot = _Plot(WIDTH, HEIGHT, x=(0, 1), y=(0, 1))
    shapes = [plot.frame(x_label="confidence", y_label="accuracy", ticks=(0, 0.25, 0.5, 0.75, 1))]
    shapes.append(plot.line(0, 0, 1, 1, "ideal"))
    most = max((b.images for b in quality.reliability), default=1) or 1
    for b in quality.reliability:
        if (
            b.accuracy is None
            or b.mean_confidence is None
            or b.accuracy_low is None
            or b.accuracy_high is None
        ):
            continue
        weight = "" if b.images >= 0.01 * quality.images else " few"
        shapes.append(plot.box(b.low_edge, 0, b.high_edge, 0.16 * b.images / most, "count"))
        shapes.append(
            plot.line(b.mean_confidence, b.mean_confidence, b.mean_confidence, b.accuracy, f"gap{weight}")
        )
        shapes.append(
            plot.line(b.mean_confidence, b.accuracy_low, b.mean_confidence, b.accuracy_high, f"bar{weight}")
        )
        hover = (
            f"{percent(b.mean_confidence)} confident, {percent(b.accuracy)} right "
            f"[{percent(b.accuracy_low)}, {percent(b.accuracy_high)}] on {b.images:,} images"
        )
        shapes.append(plot.dot(b.mean_confidence, b.accuracy, f"dot{weight}", hover))
    description = (
        f"Reliability diagram on {quality.images:,} images: ECE {percent(quality.ece.value)}, at most "
        f"{percent(quality.ece.high)}; chance alone shows {percent(quality.ece_floor)}. Mean confidence "
        f"{percent(quality.mean_confidence)}, accuracy {percent(quality.top1.value)}."
    )
    return plot.svg("".join(shapes), title=title, description=description)


def confidence_histogram(quality: Quality, *, title: str) -> str:
    """A histogram of confidence as SVG, with the mean confidence and the accuracy marked."""
    counts = quality.confidence_histogram
    most = max(counts, default=0) or 1
    plot = _Plot(WIDTH, 140, x=(0, 1), y=(0, 1.08 * most))
    shapes = [
        plot.frame(x_label="confidence", y_label="images", ticks=(0, 0.25, 0.5, 0.75, 1), y_ticks=False)
    ]
    step = 1 / max(len(counts), 1)
    shapes += [
        plot.box(i * step, 0, (i + 1) * step, n, "mass", f"{n:,} images") for i, n in enumerate(counts)
    ]
    shapes.append(plot.line(quality.mean_confidence, 0, quality.mean_confidence, 1.08 * most, "mean"))
    shapes.append(plot.line(quality.top1.value, 0, quality.top1.value, 1.08 * most, "accuracy"))
    description = (
        f"Histogram of confidence: mean {percent(quality.mean_confidence)} (solid line), accuracy "
        f"{percent(quality.top1.value)} (dashed line)."
    )
    return plot.svg("".join(shapes), title=title, description=description)


def latency(summary: LatencySummary, *, title: str) -> str:
    """The distribution of latency as SVG, with p50, p90 and p95 marked; empty without a histogram."""
    edges, counts = summary.histogram_edges_ms, summary.histogram_counts
    if len(edges) != len(counts) + 1 or not counts or edges[-1] <= edges[0]:
        return ""
    most = max(counts) or 1
    plot = _Plot(420, 170, x=(edges[0], edges[-1]), y=(0, 1.3 * most))
    ticks = [edges[0] + k * (edges[-1] - edges[0]) / 4 for k in range(5)]
    shapes = [plot.frame(x_label="milliseconds", y_label="runs", ticks=ticks, y_ticks=False, digits=2)]
    shapes += [
        plot.box(edges[i], 0, edges[i + 1], n, "mass", f"{n:,} runs in {edges[i]:.3f}–{edges[i + 1]:.3f} ms")
        for i, n in enumerate(counts)
    ]
    values = []
    percentiles = (("p50", summary.p50), ("p90", summary.p90), ("p95", summary.p95))
    for index, (name, percentile) in enumerate(percentiles):
        value = percentile.value
        if value is None:
            values.append(f"{name}: too few runs")
            continue
        values.append(f"{name} {milliseconds(value)}")
        if edges[0] <= value <= edges[-1]:
            shapes.append(plot.line(value, 0, value, (1.26 - 0.1 * index) * most, "mark"))
            shapes.append(plot.text(value, (1.19 - 0.1 * index) * most, name))
    description = f"Latency of one image over {summary.samples:,} runs: {', '.join(values)}."
    return plot.svg("".join(shapes), title=title, description=description)


class _Plot:
    """A rectangle with axes: data coordinates in, SVG elements out."""

    def __init__(self, width: int, height: int, *, x: tuple[float, float], y: tuple[float, float]) -> None:
        self.width, self.height = width, height
        self.x_range, self.y_range = x, y

    def _x(self, value: float) -> float:
        low, high = self.x_range
        return LEFT + (value - low) / (high - low) * (self.width - LEFT - RIGHT)

    def _y(self, value: float) -> float:
        low, high = self.y_range
        return self.height - BOTTOM - (value - low) / (high - low) * (self.height - TOP - BOTTOM)

    def frame(
        self, *, x_label: str, y_label: str, ticks: Sequence[float], y_ticks: bool = True, digits: int = 0
    ) -> str:
        """Axes with labels; without digits the ticks are shares, written in per cent."""
        floor, ceiling = self.height - BOTTOM, TOP
        out = [f'<path class="axis" d="M{LEFT} {ceiling}V{floor}H{self.width - RIGHT}"/>']
        for tick in ticks:
            text = f"{tick:.{digits}f}" if digits else f"{100 * tick:g}"
            end = "end" if tick == ticks[-1] else "middle"
            out.append(_text("tick", self._x(tick), floor + 14, text, anchor=end))
            if y_ticks:
                y = self._y(tick)
                out.append(_text("tick", LEFT - 6, y + 3.5, text, anchor="end"))
                out.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{self.width - RIGHT}"/>')
        middle, half = LEFT + (self.width - LEFT - RIGHT) / 2, (floor + ceiling) / 2
        out.append(
            _text("name", middle, self.height - 4, x_label if digits else f"{x_label} (%)", anchor="middle")
        )
        name = f"{y_label} (%)" if y_ticks else y_label
        out.append(_text("name", 10, half, name, anchor="middle", turned=True))
        return "".join(out)

    def line(self, x0: float, y0: float, x1: float, y1: float, kind: str) -> str:
        start, end = f"{self._x(x0):.1f} {self._y(y0):.1f}", f"{self._x(x1):.1f} {self._y(y1):.1f}"
        return f'<path class="{kind}" d="M{start}L{end}"/>'

    def box(self, x0: float, y0: float, x1: float, y1: float, kind: str, hover: str = "") -> str:
        left, top = self._x(x0) + 0.5, self._y(y1)
        width, height = max(self._x(x1) - left - 0.5, 0.5), max(self._y(y0) - top, 0.0)
        tip = f"<title>{escape(hover)}</title>" if hover else ""
        shape = f'x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}"'
        return f'<rect class="{kind}" {shape}>{tip}</rect>'

    def dot(self, x: float, y: float, kind: str, hover: str) -> str:
        shape = f'cx="{self._x(x):.1f}" cy="{self._y(y):.1f}" r="3.4"'
        return f'<circle class="{kind}" {shape}><title>{escape(hover)}</title></circle>'

    def text(self, x: float, y: float, content: str) -> str:
        return _text("tick", self._x(x) + 4, self._y(y), content)

    def svg(self, shapes: str, *, title: str, description: str) -> str:
        key = f"figure-{sha256((title + description).encode()).hexdigest()[:10]}"
        return (
            f'<svg class="plot" viewBox="0 0 {self.width} {self.height}" role="img" '
            f'aria-labelledby="{key}-title {key}-desc"><title id="{key}-title">{escape(title)}</title>'
            f'<desc id="{key}-desc">{escape(description)}</desc>{shapes}</svg>'
        )


def _text(kind: str, x: float, y: float, content: str, *, anchor: str = "start", turned: bool = False) -> str:
    turn = f' transform="rotate(-90 {x:.1f} {y:.1f})"' if turned else ""
    position = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{turn}'
    return f'<text class="{kind}" {position}>{escape(content)}</text>'
