"""Section Images of no class: how often each file is confident on images that show none of its classes."""

from __future__ import annotations

from calkd_edge.records import Report
from calkd_edge.release.report import numbers
from calkd_edge.release.report.section import Context, Section, Table, packaged


def unknown(report: Report) -> Table:
    """Per file: mean confidence, AUROC against test images, and the share that reaches each threshold."""
    if not report.unknown:
        return Table((), ())
    head = (f"reach {row.threshold:g}" for row in report.unknown[0].thresholds)
    lines = (
        (
            item.measurement,
            numbers.percent(item.mean_confidence),
            numbers.nats(item.auroc),
            *(numbers.estimate(row.share, "share") for row in item.thresholds),
        )
        for item in report.unknown
    )
    return Table(("file", "mean confidence", "AUROC", *head), tuple(lines))


def _context(report: Report) -> Context | None:
    if not report.unknown:
        return None
    first = report.unknown[0]
    return {
        "unknown": unknown(report),
        "images": first.images,
        "source": first.source,
        "left_out": first.left_out,
        "shared": ", ".join(first.shared_classes),
    }


UNKNOWN = Section("unknown", "Images of no class", packaged("unknown"), _context)
