"""Section Measurements: one row for each model, precision and device, quality and speed apart."""

from __future__ import annotations

from calkd_edge.records import Report
from calkd_edge.release.report import table
from calkd_edge.release.report.section import Context, Section, Table, packaged

QUALITY = ("model", "calibrated", "device", "top-1", "NLL", "ECE", "T", "gates")
SPEED = ("model", "device", "p50", "p95", "size")


def _columns(rows: list[table.Row], names: tuple[str, ...]) -> Table:
    chosen = [table.COLUMNS.index(name) for name in names]
    return Table(names, tuple(tuple(row.cells[k] for k in chosen) for row in rows))


def _context(report: Report) -> Context | None:
    rows = table.rows(report)
    if not rows:
        return None
    return {
        "quality": _columns(rows, QUALITY),
        "speed": _columns([row for row in rows if row.calibrated == "yes"], SPEED),
        "notes": [(m.label, "; ".join(m.notes)) for m in report.measurements if m.notes],
    }


MEASUREMENTS = Section("measurements", "Measurements", packaged("measurements"), _context)
