"""Section On other images: top-1, confidence and ECE under corruptions."""

from __future__ import annotations

from calkd_edge.records import Corrupted, Report
from calkd_edge.release.report import numbers
from calkd_edge.release.report.section import Context, Section, Table, packaged


def corruptions(report: Report) -> Table:
    """Per corruption: top-1, mean confidence and ECE of each file, on the same images."""
    files = report.out_of_distribution
    head = tuple(text for file in files for text in (f"{file.measurement}: top-1", "confidence", "ECE"))
    lines = []
    for rows in zip(*(file.rows for file in files), strict=True):
        first = rows[0]
        name = ("as they are", "") if first.corruption == "none" else (first.corruption, str(first.severity))
        lines.append((*name, *(cell for row in rows for cell in _cells(row))))
    return Table(("corruption", "severity", *head), tuple(lines))


def _cells(row: Corrupted) -> tuple[str, str, str]:
    return (
        numbers.estimate(row.top1, "share"),
        numbers.percent(row.mean_confidence),
        f"{numbers.percent(row.ece.value)} ≤ {numbers.percent(row.ece.high)}",
    )


def _context(report: Report) -> Context | None:
    table = corruptions(report)
    if not table.lines:
        return None
    return {"corruptions": table, "images": report.out_of_distribution[0].rows[0].images}


CORRUPTIONS = Section("corruptions", "On other images", packaged("corruptions"), _context)
