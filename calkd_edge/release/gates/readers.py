"""Readers of metrics that need one measurement alone: quality, latency, size, state of the calibration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from calkd_edge.metrics import intervals
from calkd_edge.metrics.latency import doubts_of
from calkd_edge.recipe.schema import GateSection
from calkd_edge.records import Estimate, Measurement, Percentile
from calkd_edge.release.gates.evidence import Evidence
from calkd_edge.release.gates.metric import Reader, Reading

TOP5_IS_ALL = 5
"""With so many classes or fewer the label is always among the first five guesses."""

FEWEST_RUNS = {"p50": 5, "p90": 29, "p95": 59}
"""Effective runs from which a percentile has bounds."""


def quality(field: str, *, fewest: int = 0) -> Reader:
    """A reader of an estimate in `Quality`; below `fewest` images the value is shown and does not decide."""

    def read(item: Evidence, peers: Sequence[Evidence], gate: GateSection) -> Reading:
        measured = item.measurement.quality
        if measured is None:
            return Reading(None, why="its quality was not measured")
        estimate: Estimate = getattr(measured, field)
        few = measured.images < fewest
        why = few_images(measured.images, fewest) if few else None
        return Reading(estimate.value, estimate.low, estimate.high, measured.images, why, not few)

    return read


def over_classes(field: str) -> Reader:
    """A reader of an estimate in `Quality` that older figures lack."""

    def read(item: Evidence, peers: Sequence[Evidence], gate: GateSection) -> Reading:
        measured = item.measurement.quality
        estimate: Estimate | None = getattr(measured, field, None)
        if measured is None or estimate is None:
            return Reading(None, why="its classes were not measured")
        empty = _without_images(item)
        if empty is None:
            return Reading(estimate.value, estimate.low, estimate.high, measured.images)
        why, needed = f"the class {empty} has no test image", "test images of every class are needed"
        return Reading(
            estimate.value, estimate.low, estimate.high, measured.images, why, decides=False, needed=needed
        )

    return read


def _without_images(item: Evidence) -> str | None:
    """The name of a class that no test image shows; None where each has some, or that is not known."""
    measured = item.measurement.quality
    if measured is not None and measured.by_class:
        empty = [figures.label for figures in measured.by_class if not figures.images]
    elif item.scores is not None:
        empty = sorted(set(range(len(item.classes))) - set(item.scores.labels.tolist()))
    else:
        empty = []
    if not empty:
        return None
    return item.classes[empty[0]] if item.classes else str(empty[0])


def top5(item: Evidence, peers: Sequence[Evidence], gate: GateSection) -> Reading:
    """The share of images whose label is among the first five guesses."""
    reading = quality("top5")(item, peers, gate)
    if not item.classes or len(item.classes) > TOP5_IS_ALL:
        return reading
    why = f"it is always 100 % with {len(item.classes)} classes"
    return replace(reading, why=why, decides=False, needed="a gate on top1 is needed", more_helps=False)


def recall_of_class(item: Evidence, peers: Sequence[Evidence], gate: GateSection) -> Reading:
    """The share of a class's images that are recognised."""
    measured = item.measurement.quality
    if gate.of_class not in item.classes:
        return Reading(None, why=f"no class is named {gate.of_class}")
    label = item.classes.index(gate.of_class)
    figures = next((one for one in measured.by_class if one.label == label), None) if measured else None
    if figures is None or figures.recall is None:
        return Reading(None, why="it was measured on no image of that class")
    recall = figures.recall
    return Reading(recall.value, recall.low, recall.high, figures.images)


def few_images(images: int, fewest: int) -> str:
    """The reason why so few images do not decide a metric that needs `fewest`."""
    if fewest == intervals.FEWEST_IMAGES_FOR_A_MEAN:
        return f"a mean needs at least {fewest} images to decide, here are {images}"
    return f"reported, not gated below {fewest:,} images"


def latency(field: str) -> Reader:
    """A reader of a latency percentile, in milliseconds."""

    def read(item: Evidence, peers: Sequence[Evidence], gate: GateSection) -> Reading:
        summary = item.measurement.latency_ms
        if summary is None:
            return Reading(None, why="its latency was not measured")
        percentile: Percentile = getattr(summary, field)
        value, low, high, runs = percentile.value, percentile.low, percentile.high, summary.effective_samples
        if item.measurement.emulated:
            return Reading(value, low, high, runs, "emulated", decides=False, more_helps=False)
        doubts = doubts_of(summary)
        if doubts and value is not None:
            again = f"compress --fresh {benchmark_of(item.measurement)} measures again"
            return Reading(value, low, high, runs, doubts[0], decides=False, needed=again, more_helps=False)
        if value is None:
            return Reading(
                None,
                low,
                high,
                runs,
                f"{runs:.0f} effective runs are too few for {field}",
                decides=False,
                needed=f"{FEWEST_RUNS[field]} effective runs are needed",
            )
        return Reading(value, low, high, runs)

    return read


def benchmark_of(m: Measurement) -> str:
    """The stage that timed a file, as --fresh names it."""
    return f"benchmark-{m.model}-{m.precision}@{m.device}"


def size(item: Evidence, peers: Sequence[Evidence], gate: GateSection) -> Reading:
    """Size in bytes of the file that ran: exact."""
    value = float(item.measurement.size_bytes)
    if not value:
        return Reading(None, why="no file was run")
    return Reading(value, value, value)


def data_fault(field: str) -> Reader:
    """A reader of a share in `DataFaults`: counted over all images, so exact."""

    def read(item: Evidence, peers: Sequence[Evidence], gate: GateSection) -> Reading:
        if item.data is None:
            return Reading(None, why="its images are not known")
        share: float = getattr(item.data, field)
        return Reading(share, share, share)

    return read


def temperature_status(item: Evidence, peers: Sequence[Evidence], gate: GateSection) -> Reading:
    """0 where the calibration was fitted, else 1, which does not decide."""
    calibration = item.measurement.calibration
    if calibration is None:
        return Reading(None, why="no calibration was fitted")
    if calibration.status in ("ok", "constant"):
        return Reading(0.0, 0.0, 0.0)
    why = f"no temperature could be fitted: {calibration.status}"
    return Reading(1.0, 0.0, 1.0, calibration.images, why, decides=False)
