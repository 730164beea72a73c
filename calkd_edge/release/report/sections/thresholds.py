"""Section Thresholds: coverage and precision at each confidence threshold, and their drift from fp32."""

from __future__ import annotations

from collections.abc import Sequence

from calkd_edge.records import AtThreshold, Report, ThresholdShift
from calkd_edge.release.report import numbers
from calkd_edge.release.report.section import Context, Section, Table, labelled, packaged

CALIBRATED_HOW = {
    "none": "neither",
    "of_fp32": "both with the map of fp32",
    "own": "each with its own, as shipped",
}
"""Cell for each kind of shift."""


def thresholds(report: Report) -> Table:
    """Per measurement: the share of images that reach each threshold, and top-1 among them."""
    scored = [(m, label, m.quality) for m, label in labelled(report) if m.quality is not None]
    head = _head(scored[0][2].thresholds) if scored else ()
    lines = [
        (label.replace(" (uncalibrated)", ""), "yes" if m.calibrated else "no", *_cells(quality.thresholds))
        for m, label, quality in scored
    ]
    return Table(("file", "calibrated", *head), tuple(lines if head else ()))


def drift(report: Report) -> Table:
    """Per precision and way of calibrating: the difference of NLL, coverage and precision from fp32."""
    head = _head(report.drift[0].shifts[0].thresholds) if report.drift else ()
    lines = [
        (
            item.measurement,
            CALIBRATED_HOW[shift.calibration],
            numbers.estimate(shift.nll, "nats"),
            *_cells(shift.thresholds),
        )
        for item in report.drift
        for shift in item.shifts
    ]
    return Table(("file", "calibrated", "NLL", *head), tuple(lines))


def _head(rows: Sequence[AtThreshold | ThresholdShift]) -> tuple[str, ...]:
    return tuple(text for row in rows for text in (f"taken at {row.threshold:g}", "right of these"))


def _cells(rows: Sequence[AtThreshold | ThresholdShift]) -> tuple[str, ...]:
    return tuple(
        cell
        for row in rows
        for cell in (
            numbers.estimate(row.coverage, "share"),
            "takes none" if row.precision is None else numbers.estimate(row.precision, "share"),
        )
    )


def _context(report: Report) -> Context | None:
    table = thresholds(report)
    return {"thresholds": table, "drift": drift(report)} if table.lines else None


THRESHOLDS = Section("thresholds", "Thresholds", packaged("thresholds"), _context)
