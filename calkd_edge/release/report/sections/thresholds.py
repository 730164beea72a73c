"""Section Thresholds: coverage and precision at each confidence threshold, and their drift from fp32."""

from __future__ import annotations

from collections.abc import Sequence

from calkd_edge.records import AtThreshold, GuaranteedThreshold, Report, ThresholdShift
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


def guaranteed(report: Report) -> list[str]:
    """One sentence for each file and wanted precision: its threshold, and what it came to on test images."""
    return [f"{label}: {sentence_of(one)}" for m, label in labelled(report) for one in m.guaranteed]


def sentence_of(one: GuaranteedThreshold) -> str:
    """What a wanted precision came to, as a sentence without its full stop."""
    wanted = numbers.percent(one.precision)
    if one.threshold is None or one.calibration is None:
        return (
            f"no threshold is shown to be right on {wanted} of what it takes, with "
            f"{one.calibration_images:,} calibration images (it must take {one.fewest_taken:,} of them even "
            "if all are right)"
        )
    text = (
        f"from confidence {one.threshold:g} on, at least {wanted} of the answers are right, with "
        f"{one.level:.0%} over {one.calibration_images:,} calibration images; it takes "
        f"{numbers.percent(one.calibration.coverage.value)} of them"
    )
    if one.test is None:
        return text
    if one.test.precision is None:
        return f"{text}; on test images it takes none"
    missed = " (below the promise)" if one.test.precision.high < one.precision else ""
    return (
        f"{text}, and {numbers.percent(one.test.coverage.value)} of the test images, of which "
        f"{numbers.estimate(one.test.precision, 'share')} are right{missed}"
    )


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
    promised = guaranteed(report)
    if not table.lines and not promised:
        return None
    return {"thresholds": table, "drift": drift(report), "guaranteed": promised}


THRESHOLDS = Section("thresholds", "Thresholds", packaged("thresholds"), _context)
