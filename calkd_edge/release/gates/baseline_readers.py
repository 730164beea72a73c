"""Readers of metrics that compare a file with the same file of an earlier release.

Where both releases were tested on the same images, they are paired image by image; else the two figures are
compared as those of independent samples. The reading says which.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from calkd_edge.metrics import intervals
from calkd_edge.metrics.intervals import Bounds
from calkd_edge.metrics.latency import doubts_of, p50_ratio
from calkd_edge.recipe.schema import GateSection
from calkd_edge.records import AtThreshold, Estimate, Measurement, Quality
from calkd_edge.release.gates.evidence import Earlier, Evidence
from calkd_edge.release.gates.image_scores import score_pair
from calkd_edge.release.gates.metric import Reader, Reading, not_measured_at
from calkd_edge.release.gates.paired_readers import PairReader, decided_from

SAME_IMAGES = "paired on the same images"
INDEPENDENT = "compared as independent samples"

Figure = Callable[[Quality, GateSection], "Estimate | None"]
"""(figures of a file, the gate) -> the one that is compared; None where it was not measured."""


def change(figure: Figure, read_pair: PairReader | None = None, *, sign: int = 1, fewest: int = 0) -> Reader:
    """A reader of what changed since the earlier release.

    Args:
        figure: taken from the figures of both where there is no pair.
        read_pair: computes the change from the common images; None where it cannot be paired.
        sign: 1: this release minus the earlier one, a rise; -1: the other way, a drop.
        fewest: below so many images the value is shown and does not decide.
    """

    def read(item: Evidence, peers: Sequence[Evidence], gate: GateSection) -> Reading:
        earlier = item.earlier
        if earlier is None:
            return _absent(item.measurement)
        images = min(item.measurement.images, earlier.measurement.images)
        if read_pair is not None and item.scores is not None and earlier.scores is not None:
            pair = score_pair(item.scores, earlier.scores)
            if pair is not None:
                images = len(pair.candidate.labels)
                return _noted(decided_from(fewest, images, read_pair(pair, gate)), SAME_IMAGES)
        figures = [_figure(figure, m, gate) for m in (item.measurement, earlier.measurement)]
        if figures[0] is None or figures[1] is None:
            return _without(figure, (item.measurement, earlier.measurement), gate)
        now, then = figures[0], figures[1]
        bounds = intervals.independent_difference(*((now, then) if sign > 0 else (then, now)))
        reading = decided_from(fewest, images, Reading(bounds.value, bounds.low, bounds.high, images))
        if earlier.other_task:
            return replace(reading, why=earlier.other_task, decides=False, more_helps=False)
        return _noted(reading, _compared_as(item, earlier))

    return read


def _compared_as(item: Evidence, earlier: Earlier) -> str:
    """How two figures that no pair was made of were compared."""
    if earlier.scores is None:
        return f"{earlier.unpaired}: {INDEPENDENT}" if earlier.unpaired else INDEPENDENT
    if covers_all(item, earlier):
        return ""
    return f"over all images of each release; {len(earlier.scores.labels):,} are common to both"


def covers_all(item: Evidence, earlier: Earlier) -> bool:
    """Whether the images of both are all that each was tested on."""
    tested = max(item.measurement.images, earlier.measurement.images)
    return earlier.scores is not None and len(earlier.scores.labels) == tested


def _absent(m: Measurement) -> Reading:
    where = f"{m.model} {m.precision} on {m.device}:{m.runtime}"
    return Reading(None, why=f"the earlier release has no measurement of {where}")


def _without(figure: Figure, both: Sequence[Measurement], gate: GateSection) -> Reading:
    """The reading where a figure is missing: undecided where only no image reaches the threshold."""
    if figure is precision and all(_figure(coverage, m, gate) for m in both):
        why = f"no image reaches confidence {gate.threshold:g} in one of the two releases"
        return Reading(None, why=why, decides=False, needed="a lower threshold is needed")
    if figure in (coverage, precision):
        for m, name in zip(both, ("this release", "the earlier release"), strict=True):
            if m.quality is not None and _at(m.quality, gate) is None:
                measured = [row.threshold for row in m.quality.thresholds]
                return Reading(None, why=f"in {name} {not_measured_at(gate.threshold, measured)}")
    return Reading(None, why="one of the two releases has no such figure")


def _figure(figure: Figure, m: Measurement, gate: GateSection) -> Bounds | None:
    estimate = None if m.quality is None else figure(m.quality, gate)
    return None if estimate is None else Bounds(estimate.value, estimate.low, estimate.high)


def _noted(reading: Reading, note: str) -> Reading:
    why = "; ".join(filter(None, (note, reading.why)))
    return replace(reading, why=why)


def named(field: str) -> Figure:
    """A figure of `Quality` by its name."""

    def read(quality: Quality, gate: GateSection) -> Estimate | None:
        estimate: Estimate | None = getattr(quality, field)
        return estimate

    return read


def coverage(quality: Quality, gate: GateSection) -> Estimate | None:
    """Share of images that reach the gate's threshold."""
    row = _at(quality, gate)
    return None if row is None else row.coverage


def precision(quality: Quality, gate: GateSection) -> Estimate | None:
    """Top-1 among the images that reach the gate's threshold."""
    row = _at(quality, gate)
    return None if row is None else row.precision


def _at(quality: Quality, gate: GateSection) -> AtThreshold | None:
    return next((row for row in quality.thresholds if row.threshold == gate.threshold), None)


def latency_ratio(item: Evidence, peers: Sequence[Evidence], gate: GateSection) -> Reading:
    """Median time of one image over what it was."""
    earlier = item.earlier
    if earlier is None:
        return _absent(item.measurement)
    now, then = item.measurement.latency_ms, earlier.measurement.latency_ms
    if now is None or then is None:
        return Reading(None, why="it was not timed in both releases")
    ratio, runs = p50_ratio(now, then), min(now.effective_samples, then.effective_samples)
    if ratio is None:
        return Reading(None, why="there are too few runs", sample=runs, decides=False)
    reasons = [earlier.other_conditions] if earlier.other_conditions else []
    reasons += ["emulated"] if item.measurement.emulated or earlier.measurement.emulated else []
    reasons += [*doubts_of(now), *(f"in the earlier release {doubt}" for doubt in doubts_of(then))]
    return Reading(
        *ratio,
        runs,
        "; ".join(reasons) or None,
        decides=not reasons,
        more_helps=not reasons,
    )


def size_ratio(item: Evidence, peers: Sequence[Evidence], gate: GateSection) -> Reading:
    """Size of the file over what it was: exact."""
    earlier: Earlier | None = item.earlier
    if earlier is None:
        return _absent(item.measurement)
    if not (item.measurement.size_bytes and earlier.measurement.size_bytes):
        return Reading(None, why="one of the two files was not run")
    ratio = item.measurement.size_bytes / earlier.measurement.size_bytes
    return Reading(ratio, ratio, ratio)
