"""Section On other images: top-1, confidence and ECE under corruptions."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from calkd_edge.records import Corrupted, OutOfDistribution, Report
from calkd_edge.release.report import figures, headline, numbers
from calkd_edge.release.report.section import Context, Figure, Section, Table, labelled, packaged


def corruptions(report: Report) -> Table:
    """Per corruption: top-1, mean confidence and ECE of each file, on the same images."""
    files = report.out_of_distribution
    head = tuple(text for file in files for text in (f"{file.measurement}: top-1", "confidence", "ECE"))
    lines = []
    for rows in zip(*(file.rows for file in files), strict=True):
        first = rows[0]
        name = ("as they are", "") if first.corruption == "none" else (first.corruption, str(first.severity))
        lines.append((*name, *(cell for row in rows for cell in _cells(row))))
    return Table(("corruption", "severity", *head), tuple(lines), most=3)


def _cells(row: Corrupted) -> tuple[str, str, str]:
    return (
        numbers.estimate(row.top1, "share"),
        numbers.percent(row.mean_confidence),
        f"{numbers.percent(row.ece.value)} ≤ {numbers.percent(row.ece.high)}",
    )


def shown_file(report: Report) -> OutOfDistribution:
    """The file that the figures show: the one of the first screen, else the first that was measured."""
    m = headline.headline(report.measurements, report.recommendation)
    label = next((name for row, name in labelled(report) if row is m), "")
    files = report.out_of_distribution
    return next((file for file in files if file.measurement == label), files[0])


def curves(rows: Sequence[Corrupted]) -> list[Figure]:
    """Top-1 and mean confidence of a file by severity, a figure for each corruption."""
    plain = [row for row in rows if row.corruption == "none"]
    drawn = []
    for name in dict.fromkeys(row.corruption for row in rows if row.corruption != "none"):
        chosen = [*plain, *(row for row in rows if row.corruption == name)]
        top1 = tuple((float(row.severity), row.top1.value) for row in chosen)
        band = tuple((float(row.severity), row.top1.low, row.top1.high) for row in chosen)
        confidence = tuple((float(row.severity), row.mean_confidence) for row in chosen)
        lines = [
            figures.Line("top-1", top1, "first", band),
            figures.Line("mean confidence", confidence, "second"),
        ]
        accuracy = f"at severity {chosen[-1].severity}, top-1 {numbers.percent(top1[-1][1])}"
        confident = f"mean confidence {numbers.percent(confidence[-1][1])}"
        svg = figures.curves(
            lines,
            x=figures.Scale(0.0, max(top1[-1][0], 1.0), tuple(x for x, _ in top1), "severity"),
            y=figures.shares("share"),
            title=f"Under {name}",
            description=f"{accuracy}, {confident}.",
        )
        drawn.append(Figure(f"{name}: {accuracy}, {confident}", Markup(svg)))
    return drawn


def _context(report: Report) -> Context | None:
    table = corruptions(report)
    if not table.lines:
        return None
    file = shown_file(report)
    return {
        "corruptions": table,
        "images": file.rows[0].images,
        "shown": file.measurement,
        "drawn": curves(file.rows),
    }


CORRUPTIONS = Section("corruptions", "On other images", packaged("corruptions"), _context)
