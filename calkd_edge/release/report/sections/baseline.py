"""Section Since the last release: what changed in each file, with intervals."""

from __future__ import annotations

from calkd_edge.records import Change, Report
from calkd_edge.release.gates.metrics import METRICS
from calkd_edge.release.report import numbers
from calkd_edge.release.report.section import Context, Section, Table, packaged


def changes(report: Report) -> Table:
    """Per file and figure: the change since the earlier release, and how it was compared."""
    rows = report.baseline.changes if report.baseline else ()
    return Table(
        ("file", "figure", "change", "how compared"),
        tuple((row.measurement, _title(row), _value(row), row.note or numbers.MISSING) for row in rows),
    )


def _title(row: Change) -> str:
    name = METRICS[row.metric].meaning if row.metric in METRICS else row.metric
    return name if row.threshold is None else f"{name} (confidence {row.threshold:g})"


def _value(row: Change) -> str:
    unit = METRICS[row.metric].unit if row.metric in METRICS else "plain"
    if row.value is None:
        return "not known"
    if row.low == row.high:
        return numbers.in_unit(row.value, unit)
    return f"{numbers.in_unit(row.value, unit)} {numbers.interval(row.low, row.high, unit)}".strip()


def _context(report: Report) -> Context | None:
    if report.baseline is None:
        return None
    return {"sentence": report.baseline.sentence, "changes": changes(report)}


BASELINE = Section("baseline", "Since the last release", packaged("baseline"), _context)
