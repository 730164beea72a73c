"""Section Calibration: the fit of each file, other maps on the same split, and the proof of the fold."""

from __future__ import annotations

from calkd_edge.records import Calibration, Report
from calkd_edge.release.report import numbers
from calkd_edge.release.report.section import Context, Section, Table, calibrated, packaged


def fits(report: Report) -> Table:
    """Per calibrated file: method, T ± standard error, status, split, NLL before and after, warnings."""
    head = ("file", "method", "T", "status", "fitted on", "NLL before", "NLL after", "warnings")
    lines = [
        (
            label,
            m.calibration.method,
            numbers.temperature_of(m.calibration),
            m.calibration.status,
            f"{m.calibration.images:,} {m.calibration.split} images",
            numbers.nats(m.calibration.nll_before),
            numbers.nats(m.calibration.nll_after),
            "; ".join(m.calibration.warnings) or numbers.MISSING,
        )
        for m, label in calibrated(report)
        if m.calibration is not None
    ]
    return Table(head, tuple(lines))


def methods(report: Report) -> Table:
    """Per file and map: figures on images that the fit of the map has not used."""
    lines = [
        (
            comparison.measurement,
            row.method if row.ships else f"{row.method} (measured only)",
            numbers.estimate(row.nll, "nats"),
            f"{numbers.percent(row.ece.value)} ≤ {numbers.percent(row.ece.high)}",
            numbers.estimate(row.brier_toplabel, "nats"),
            numbers.estimate(row.top1, "share"),
        )
        for comparison in report.comparisons
        for row in comparison.rows
    ]
    return Table(("file", "map", "NLL", "ECE", "Brier, top", "top-1"), tuple(lines))


def proofs(report: Report) -> Table:
    """Per folded file: images, largest differences from calibrating by hand, tolerance, changed answers."""
    head = (
        "file",
        "how",
        "images",
        "max |folded − divided|",
        "tolerance",
        "max |Δp|",
        "argmax changes",
        "near ties",
    )
    fitted = [(label, m.calibration) for m, label in calibrated(report) if m.calibration is not None]
    lines = [
        (
            label,
            _fold(calibration),
            f"{proof.images:,}",
            f"{proof.max_logit_difference:.1e}",
            f"{proof.tolerance:.1e}",
            f"{proof.max_probability_difference:.1e}",
            f"{proof.argmax_changes:,}",
            f"{proof.near_ties:,}",
        )
        for label, calibration in fitted
        if (proof := calibration.proof) is not None
    ]
    return Table(head, tuple(lines))


def _fold(calibration: Calibration) -> str:
    reason = f": {calibration.fold_reason}" if calibration.fold_reason else ""
    return calibration.fold.replace("_", " ") + reason


def _context(report: Report) -> Context | None:
    table = fits(report)
    return {"fits": table, "methods": methods(report), "proofs": proofs(report)} if table.lines else None


CALIBRATION = Section("calibration", "Calibration", packaged("calibration"), _context, folded=True)
