"""Section What follows: the report's conclusions."""

from __future__ import annotations

from calkd_edge.records import Report
from calkd_edge.release.report.section import Context, Section, packaged


def _context(report: Report) -> Context | None:
    return {"conclusions": report.conclusions} if report.conclusions else None


CONCLUSIONS = Section("conclusions", "What follows", packaged("conclusions"), _context)
