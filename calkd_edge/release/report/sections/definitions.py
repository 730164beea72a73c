"""Section What these numbers mean: every term on the page with its formula."""

from __future__ import annotations

from calkd_edge.records import Report
from calkd_edge.release.report.definitions import definitions
from calkd_edge.release.report.section import Context, Section, packaged

DEFAULT_BINS = 15


def _context(report: Report) -> Context:
    bins = next((m.quality.bins for m in report.measurements if m.quality), DEFAULT_BINS)
    return {"definitions": definitions(bins)}


DEFINITIONS = Section(
    "definitions", "What these numbers mean", packaged("definitions"), _context, folded=True
)
