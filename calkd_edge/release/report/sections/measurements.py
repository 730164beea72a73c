"""Section Measurements: one row for each model, precision and device."""

from __future__ import annotations

from calkd_edge.records import Report
from calkd_edge.release.report import table
from calkd_edge.release.report.section import Context, Section, packaged


def _context(report: Report) -> Context:
    return {
        "columns": table.COLUMNS,
        "rows": table.rows(report),
        "notes": [(m.label, "; ".join(m.notes)) for m in report.measurements if m.notes],
    }


MEASUREMENTS = Section("measurements", "Measurements", packaged("measurements"), _context)
