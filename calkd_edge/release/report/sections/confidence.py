"""Section Confidence: a histogram of confidence for each calibrated file."""

from __future__ import annotations

from markupsafe import Markup

from calkd_edge.records import Report
from calkd_edge.release.report import figures
from calkd_edge.release.report.section import Context, Figure, Section, calibrated, packaged


def _context(report: Report) -> Context | None:
    histograms = [
        Figure(label, Markup(figures.confidence_histogram(m.quality, title=f"Confidence of {label}")))
        for m, label in calibrated(report)
        if m.quality is not None
    ]
    return {"histograms": histograms} if histograms else None


CONFIDENCE = Section(
    "confidence", "Distribution of confidence", packaged("confidence"), _context, folded=True
)
