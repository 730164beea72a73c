"""Figures of a report computed once more from kept scores: both must say the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from calkd_edge.metrics import intervals
from calkd_edge.metrics.binned import expected_calibration_error
from calkd_edge.records import Measurement, Quality, Report
from calkd_edge.release.gates.image_scores import ImageScores

_TOLERANCE = 1e-4
"""Of a mean in float32 against the report's, relative to 1 or to the mean where that is more."""

_IMAGES_OFF = 2.5
"""Images that may lie in another bin of the ECE, since their confidence was rounded to float32."""

_Figure = tuple[str, float, float, float]
"""Name, value of the scores, value of the report, allowed difference."""


def contradictions(by_measurement: Mapping[int, ImageScores], report: Report) -> Iterator[str]:
    """Where scores and report contradict each other, as the end of a sentence that begins with the file.

    Args:
        by_measurement: scores by the measurement's position in the report.
        report: of the same release.
    """
    for position, m in enumerate(report.measurements):
        if m.calibrated and m.is_released and m.quality is not None and position not in by_measurement:
            yield f"has no scores of {m.label}, which the report has figures of"
    for position, scores in by_measurement.items():
        row = report.measurements[position] if 0 <= position < len(report.measurements) else None
        if row is None or row.quality is None or not row.calibrated:
            yield f"has scores of a measurement {position} that the report lacks"
        else:
            yield from _differences(scores, row, row.quality)


def _differences(scores: ImageScores, row: Measurement, quality: Quality) -> Iterator[str]:
    for name, kept, reported, allowed in _figures(scores, quality):
        if not abs(kept - reported) <= allowed * max(1.0, abs(reported)):
            yield f"and the report disagree on the {name} of {row.label}: {kept:.6g} and {reported:.6g}"


def _figures(scores: ImageScores, quality: Quality) -> Iterator[_Figure]:
    images, right = len(scores.labels), scores.right
    exact = intervals.clopper_pearson(int(right.sum()), images, level=quality.top1.level)
    yield "top-1", exact.value, quality.top1.value, _TOLERANCE
    yield "lower bound of top-1", exact.low, quality.top1.low, _TOLERANCE
    yield "upper bound of top-1", exact.high, quality.top1.high, _TOLERANCE
    yield "number of images", images, quality.images, 0.0
    for name, values, value in (
        ("NLL", scores.nll, quality.nll.value),
        ("Brier score", scores.brier, quality.brier.value),
        ("mean confidence", scores.confidence, quality.mean_confidence),
    ):
        yield name, float(values.mean(dtype=np.float64)), value, _TOLERANCE
    ece = expected_calibration_error(scores.confidence.astype(np.float64), right, bins=quality.bins)
    yield "ECE", ece, quality.ece.value, _IMAGES_OFF / images
    for at in quality.thresholds:
        taken = scores.reaches(at.threshold)
        yield f"coverage at {at.threshold:g}", float(taken.mean()), at.coverage.value, _TOLERANCE
        if at.precision is not None and taken.any():
            precision = float(right[taken].mean())
            yield f"precision at {at.threshold:g}", precision, at.precision.value, _TOLERANCE
    yield from _by_class(scores, quality)


def _by_class(scores: ImageScores, quality: Quality) -> Iterator[_Figure]:
    """Images and recall of each class, and what is made of the recalls."""
    recalls = {
        int(label): float(scores.right[scores.labels == label].mean()) for label in np.unique(scores.labels)
    }
    for figures in quality.by_class:
        images = int((scores.labels == figures.label).sum())
        yield f"images of class {figures.label}", images, figures.images, 0.0
        if figures.recall is not None and figures.label in recalls:
            name = f"recall of class {figures.label}"
            yield name, recalls[figures.label], figures.recall.value, _TOLERANCE
    if quality.balanced_accuracy is not None:
        mean = float(np.mean(list(recalls.values())))
        yield "balanced accuracy", mean, quality.balanced_accuracy.value, _TOLERANCE
    if quality.worst_recall is not None:
        yield "lowest recall", min(recalls.values()), quality.worst_recall.value, _TOLERANCE
