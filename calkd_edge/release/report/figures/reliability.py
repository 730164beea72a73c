"""The reliability diagram."""

from __future__ import annotations

from calkd_edge.records import Quality
from calkd_edge.release.report.figures.plot import SMALL, Plot
from calkd_edge.release.report.figures.scale import shares
from calkd_edge.release.report.numbers import percent


def reliability(quality: Quality, *, title: str) -> str:
    """A reliability diagram as SVG: accuracy against confidence per bin, exact bounds, images per bin.

    Args:
        quality: its bins are drawn; faint ones hold fewer than 1 % of the images.
        title: names the model.
    """
    plot = Plot(SMALL, 260, shares("confidence"), shares("accuracy"))
    shapes = [*plot.frame(), plot.line(0, 0, 1, 1, "ideal")]
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
        shapes.append(plot.box(b.low_edge, b.accuracy_low, b.high_edge, b.accuracy_high, f"band{weight}"))
        shapes.append(
            plot.line(b.mean_confidence, b.mean_confidence, b.mean_confidence, b.accuracy, f"gap{weight}")
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
    return plot.svg(shapes, title=title, description=description)
