"""Readers of what confidence does on corrupted images, on images of no class, and where it is wrong."""

from __future__ import annotations

from collections.abc import Sequence

from calkd_edge.metrics import intervals
from calkd_edge.metrics.intervals import Bounds
from calkd_edge.recipe.schema import GateSection
from calkd_edge.records import Corrupted
from calkd_edge.release.gates.evidence import Evidence
from calkd_edge.release.gates.metric import Reading, not_measured_at
from calkd_edge.release.gates.paired_readers import none_above

NOT_CORRUPTED = "it was not measured on corrupted images: evaluate.corruptions"


def confident_wrong(item: Evidence, peers: Sequence[Evidence], gate: GateSection) -> Reading:
    """Share of the test images that are answered wrongly with a confidence that reaches the threshold."""
    if item.scores is None:
        return Reading(None, why="its predictions were not kept")
    confident = item.scores.reaches(gate.threshold or 0.0)
    if not confident.any():
        return none_above(gate)
    wrong = confident & ~item.scores.right
    bounds = intervals.clopper_pearson(int(wrong.sum()), len(wrong))
    return Reading(bounds.value, bounds.low, bounds.high, len(wrong))


def ece_corrupted(item: Evidence, peers: Sequence[Evidence], gate: GateSection) -> Reading:
    """The largest ECE under any corruption and severity."""
    rows = _corrupted(item)
    if not rows:
        return Reading(None, why=NOT_CORRUPTED)
    figures = [Bounds(row.ece.value, row.ece.low, row.ece.high) for row in rows]
    return _worst(rows, figures, intervals.FEWEST_IMAGES_FOR_ECE)


def confident_wrong_corrupted(item: Evidence, peers: Sequence[Evidence], gate: GateSection) -> Reading:
    """The largest share, under any corruption, that is wrong with a confidence that reaches the threshold."""
    rows = _corrupted(item)
    if not rows:
        return Reading(None, why=NOT_CORRUPTED)
    counts = [_wrong(row, gate.threshold or 0.0) for row in rows]
    if None in counts:
        measured = sorted(set.intersection(*({at.threshold for at in row.thresholds} for row in rows)))
        return Reading(None, why=f"on corrupted images {not_measured_at(gate.threshold, measured)}")
    if not any(at.taken for row in rows for at in row.thresholds if at.threshold == gate.threshold):
        return none_above(gate)
    figures = [
        intervals.clopper_pearson(count or 0, row.images) for count, row in zip(counts, rows, strict=True)
    ]
    return _worst(rows, figures, 0)


def confident_unknown(item: Evidence, peers: Sequence[Evidence], gate: GateSection) -> Reading:
    """Share of the images of no class whose confidence reaches the threshold."""
    unknown = item.unknown
    if unknown is None:
        return Reading(None, why="it was not measured on images of no class: evaluate.unknown")
    share = next((row.share for row in unknown.thresholds if row.threshold == gate.threshold), None)
    if share is None:
        measured = [row.threshold for row in unknown.thresholds]
        return Reading(None, why=f"on images of no class {not_measured_at(gate.threshold, measured)}")
    if item.scores is not None and not item.scores.reaches(gate.threshold or 0.0).any():
        return none_above(gate)  # not of the test images either: the file is confident of nothing
    return Reading(share.value, share.low, share.high, unknown.images)


def _corrupted(item: Evidence) -> list[Corrupted]:
    return [row for row in item.corrupted if row.corruption != "none"]


def _wrong(row: Corrupted, threshold: float) -> int | None:
    """Images that are answered wrongly at or above a threshold; None where that was not measured."""
    at = next((at for at in row.thresholds if at.threshold == threshold), None)
    if at is None:
        return None
    return 0 if at.precision is None else at.taken - round(at.precision.value * at.taken)


def _worst(rows: Sequence[Corrupted], figures: Sequence[Bounds], fewest: int) -> Reading:
    """The largest of several figures on the same images, with bounds for the largest.

    The upper bound of the largest is the largest upper bound. The lower one is that of the row with the
    largest value, moved away from it as far as a choice among so many rows can have favoured it (Bonferroni,
    by normal quantiles).
    """
    worst = max(range(len(rows)), key=lambda index: figures[index].value)
    row, bounds = rows[worst], figures[worst]
    wider = intervals.normal_quantile(1 - (1 - intervals.LEVEL) / len(rows)) / intervals.normal_quantile(
        intervals.LEVEL
    )
    low = max(0.0, bounds.value - wider * (bounds.value - bounds.low))
    why = f"{row.corruption}, severity {row.severity}"
    few = row.images < fewest
    why += f"; reported, not gated below {fewest:,} images: evaluate.corrupted_images" if few else ""
    return Reading(bounds.value, low, max(f.high for f in figures), row.images, why, not few)
