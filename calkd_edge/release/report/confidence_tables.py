"""What the page shows of confidence beyond ECE: thresholds, drift from fp32, further figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from calkd_edge.records import AtThreshold, Estimate, Quality, Report, ThresholdShift
from calkd_edge.release.gates.evidence import labels_of
from calkd_edge.release.report import numbers


@dataclass(frozen=True)
class Table:
    """Column heads, and lines of as many cells."""

    head: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]


FURTHER: tuple[tuple[str, Callable[[Quality], str]], ...] = (
    ("over", lambda q: numbers.percent(q.ece_over.value)),
    ("under", lambda q: numbers.percent(q.ece_under.value)),
    ("chance, 95 %", lambda q: numbers.percent(q.confidence.ece_floor_95)),
    ("p", lambda q: f"{q.confidence.consistency_p:.3f}"),
    ("ACE", lambda q: numbers.percent(q.ace_toplabel.value)),
    ("ACE, classwise", lambda q: numbers.percent(q.ace_classwise.value)),
    ("SCE", lambda q: numbers.percent(q.confidence.ece_classwise)),
    ("RMSCE", lambda q: numbers.percent(q.confidence.rmsce)),
    ("L2, debiased", lambda q: numbers.percent(q.confidence.l2_debiased)),
    ("MCE", lambda q: numbers.percent(q.confidence.mce)),
    ("smECE", lambda q: numbers.percent(q.confidence.smece)),
    ("KS", lambda q: numbers.percent(q.confidence.ks)),
    ("Brier", lambda q: numbers.nats(q.brier.value)),
    ("Brier, top", lambda q: numbers.nats(q.confidence.brier_toplabel)),
    ("gap", lambda q: numbers.nats(q.temperature_gap)),
    ("refinement", lambda q: numbers.nats(q.confidence.nll_refinement)),
    ("AUROC", lambda q: numbers.nats(q.confidence.auroc)),
    ("AURC", lambda q: numbers.nats(q.confidence.aurc)),
)
"""Column and cell of each further figure."""

HOW = {
    "none": "neither",
    "of_fp32": "both with the map of fp32",
    "own": "each with its own, as shipped",
}


def thresholds(report: Report) -> Table:
    """Per measurement: what each threshold takes, and how much of it is right."""
    scored = list(_scored(report))
    asked = scored[0][1].thresholds if scored else ()
    lines = [(*who, *_cells(quality.thresholds)) for who, quality in scored]
    return Table(("file", "calibrated", *_heads(asked)), tuple(lines if asked else ()))


def drift(report: Report) -> Table:
    """Per precision and way of calibrating: how NLL, coverage and precision differ from fp32."""
    asked = report.drift[0].shifts[0].thresholds if report.drift else ()
    lines = [
        (
            one.measurement,
            HOW[shift.calibration],
            numbers.estimate(shift.nll, "nats"),
            *_cells(shift.thresholds),
        )
        for one in report.drift
        for shift in one.shifts
    ]
    return Table(("file", "calibrated", "NLL", *_heads(asked)), tuple(lines))


def corruptions(report: Report) -> Table:
    """Per corruption: top-1, mean confidence and ECE of each file, on the same images."""
    files = report.out_of_distribution
    head = tuple(text for one in files for text in (f"{one.measurement}: top-1", "confidence", "ECE"))
    lines = []
    for at in range(len(files[0].rows) if files else 0):
        first = files[0].rows[at]
        cells = [
            cell
            for one in files
            for cell in (
                numbers.estimate(one.rows[at].top1, "share"),
                numbers.percent(one.rows[at].mean_confidence),
                f"{numbers.percent(one.rows[at].ece.value)} ≤ {numbers.percent(one.rows[at].ece.high)}",
            )
        ]
        named = ("as they are", "") if first.corruption == "none" else (first.corruption, str(first.severity))
        lines.append((*named, *cells))
    return Table(("corruption", "severity", *head), tuple(lines))


def methods(report: Report) -> Table:
    """Per file and map: what it makes of confidence on images that its fit has not seen."""
    lines = [
        (
            one.measurement,
            row.method if row.ships else f"{row.method} (measured only)",
            numbers.estimate(row.nll, "nats"),
            f"{numbers.percent(row.ece.value)} ≤ {numbers.percent(row.ece.high)}",
            numbers.estimate(row.brier_toplabel, "nats"),
            numbers.estimate(row.top1, "share"),
        )
        for one in report.comparisons
        for row in one.rows
    ]
    return Table(("file", "map", "NLL", "ECE", "Brier, top", "top-1"), tuple(lines))


def further(report: Report) -> Table:
    """Per measurement: every figure of confidence that no other table shows."""
    lines = [(*who, *(cell(quality) for _, cell in FURTHER)) for who, quality in _scored(report)]
    return Table(("file", "calibrated", *(name for name, _ in FURTHER)), tuple(lines))


def _scored(report: Report) -> Iterator[tuple[tuple[str, str], Quality]]:
    labels = labels_of(report.measurements)
    for m, label in zip(report.measurements, labels, strict=True):
        if m.quality is not None:
            yield (label.replace(" (uncalibrated)", ""), "yes" if m.calibrated else "no"), m.quality


def _heads(asked: Sequence[AtThreshold | ThresholdShift]) -> tuple[str, ...]:
    return tuple(text for at in asked for text in (f"taken at {at.threshold:g}", "right of these"))


def _cells(found: Sequence[AtThreshold | ThresholdShift]) -> tuple[str, ...]:
    return tuple(
        cell for at in found for cell in (_share(at.coverage), _share(at.precision, missing="takes none"))
    )


def _share(found: Estimate | None, *, missing: str = numbers.MISSING) -> str:
    return missing if found is None else numbers.estimate(found, "share")
