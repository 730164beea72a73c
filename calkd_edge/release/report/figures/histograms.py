"""Histograms of confidence and of latency."""

from __future__ import annotations

from calkd_edge.records import LatencySummary, Quality
from calkd_edge.release.report.figures.plot import SMALL, WIDE, Plot, text
from calkd_edge.release.report.figures.scale import Scale, shares
from calkd_edge.release.report.numbers import milliseconds, percent


def confidence_histogram(quality: Quality, *, title: str) -> str:
    """A histogram of confidence as SVG, with the mean confidence and the accuracy marked."""
    counts = quality.confidence_histogram
    top = 1.08 * (max(counts, default=0) or 1)
    plot = Plot(SMALL, 140, shares("confidence"), Scale(0, top, (), "images"), left=24)
    shapes = plot.frame(y_ticks=False)
    step = 1 / max(len(counts), 1)
    shapes += [
        plot.box(i * step, 0, (i + 1) * step, n, "mass", f"{n:,} images") for i, n in enumerate(counts)
    ]
    shapes.append(plot.line(quality.mean_confidence, 0, quality.mean_confidence, top, "mean"))
    shapes.append(plot.line(quality.top1.value, 0, quality.top1.value, top, "accuracy"))
    description = (
        f"Histogram of confidence: mean {percent(quality.mean_confidence)} (solid line), accuracy "
        f"{percent(quality.top1.value)} (dashed line)."
    )
    return plot.svg(shapes, title=title, description=description)


def latency(summary: LatencySummary, *, title: str) -> str:
    """The distribution of latency as SVG, with p50, p90 and p95 marked; empty without a histogram."""
    edges, counts = summary.histogram_edges_ms, summary.histogram_counts
    if len(edges) != len(counts) + 1 or not counts or edges[-1] <= edges[0]:
        return ""
    most = max(counts) or 1
    ticks = tuple(edges[0] + k * (edges[-1] - edges[0]) / 4 for k in range(5))
    x = Scale(edges[0], edges[-1], ticks, "milliseconds", lambda tick: f"{tick:.3g}")
    plot = Plot(WIDE, 170, x, Scale(0, 1.3 * most, (), "runs"), left=24)
    shapes = plot.frame(y_ticks=False)
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
            shapes.append(text("tick", plot.across(value) + 4, plot.up((1.19 - 0.1 * index) * most), name))
    description = f"Latency of one image over {summary.samples:,} runs: {', '.join(values)}."
    return plot.svg(shapes, title=title, description=description)
