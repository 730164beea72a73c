"""Section Drift: how each precision changes confidence against fp32 on the same images."""

from __future__ import annotations

from markupsafe import Markup

from calkd_edge.records import Report
from calkd_edge.release.report import figures, numbers
from calkd_edge.release.report.section import Context, Figure, Section, Table, labelled, packaged
from calkd_edge.release.report.sections.thresholds import cells, head

CALIBRATED_HOW = {
    "none": "neither",
    "of_fp32": "both with the map of fp32",
    "own": "each with its own, as shipped",
}
"""Cell for each kind of shift."""

KINDS: dict[str, figures.MarkKind] = {"none": "ring", "of_fp32": "diamond", "own": "full"}
"""Mark for each kind of shift."""


def drift(report: Report) -> Table:
    """Per precision and way of calibrating: the difference of NLL, coverage and precision from fp32."""
    levels = head(report.drift[0].shifts[0].thresholds) if report.drift else ()
    lines = [
        (
            item.measurement,
            CALIBRATED_HOW[shift.calibration],
            numbers.estimate(shift.nll, "nats"),
            *cells(shift.thresholds),
        )
        for item in report.drift
        for shift in item.shifts
    ]
    return Table(("file", "calibrated", "NLL", *levels), tuple(lines), keys=2, most=5)


def to_fp32(report: Report) -> Table:
    """Per file: on how many images its answer is fp32's, and how far its probabilities are from fp32's."""
    lines = [
        (
            label,
            f"{m.to_fp32.images:,}",
            numbers.estimate(m.to_fp32.agreement, "share"),
            numbers.estimate(m.to_fp32.kl, "divergence"),
        )
        for m, label in labelled(report)
        if m.to_fp32 is not None
    ]
    return Table(("file", "images", "same answer as fp32", "KL divergence from fp32, nats"), tuple(lines))


def _figure(report: Report) -> Figure:
    rows = []
    for item in report.drift:
        marks = tuple(
            figures.Mark(
                shift.nll.value,
                shift.nll.low,
                shift.nll.high,
                KINDS[shift.calibration],
                f"{item.measurement}, {CALIBRATED_HOW[shift.calibration]}: "
                f"{numbers.estimate(shift.nll, 'nats')}",
            )
            for shift in item.shifts
        )
        rows.append(figures.Row(item.measurement.removeprefix("student "), marks))
    values = [v for row in rows for mark in row.marks for v in (mark.low, mark.high)]
    svg = figures.rows(
        rows,
        x=figures.spanning([*values, 0.0], "NLL minus that of fp32 (nats)"),
        title="Drift of NLL from fp32",
        description="; ".join(mark.hover for row in rows for mark in row.marks) + ".",
        stacked=True,
        line_at=0.0,
    )
    caption = (
        "Ring: neither is calibrated; diamond: both with the map of fp32; dot: each with its own, as shipped."
    )
    return Figure(caption, Markup(svg))


def _context(report: Report) -> Context | None:
    table = drift(report)
    return {"drift": table, "to_fp32": to_fp32(report), "figures": [_figure(report)]} if table.lines else None


DRIFT = Section("drift", "Drift from fp32", packaged("drift"), _context)
