"""Section Since the last release: what changed in each file, with intervals."""

from __future__ import annotations

from calkd_edge.records import Change, Report
from calkd_edge.release.gates.metrics import METRICS
from calkd_edge.release.report import numbers
from calkd_edge.release.report.section import Context, Section, Table, packaged

TITLES = {
    "top1_drop_from_baseline": "top-1 lost",
    "nll_rise_from_baseline": "NLL gained",
    "ece_rise_from_baseline": "ECE gained",
    "recall_worst_class_drop_from_baseline": "recall of the worst class, lost",
    "coverage_shift_from_baseline": "images taken, change",
    "precision_shift_from_baseline": "right of these, change",
    "latency_ratio_from_baseline": "p50, ratio",
    "size_ratio_from_baseline": "size, ratio",
}
"""Short names for the table's first column."""


def changes(report: Report) -> Table:
    """Per figure: the change of each file since the earlier release."""
    rows = report.baseline.changes if report.baseline else ()
    files = list(dict.fromkeys(row.measurement for row in rows))
    figures = list(dict.fromkeys((row.metric, row.threshold) for row in rows))
    cells = {(row.measurement, row.metric, row.threshold): _value(row) for row in rows}
    lines = (
        (_title(*figure), *(cells.get((file, *figure), numbers.MISSING) for file in files))
        for figure in figures
    )
    return Table(("change", *files), tuple(lines))


def _title(metric: str, threshold: float | None) -> str:
    name = TITLES.get(metric, metric)
    return name if threshold is None else f"{name}, at {threshold:g}"


def _value(row: Change) -> str:
    if row.value is None:
        return "not known"
    unit = METRICS[row.metric].unit if row.metric in METRICS else "plain"
    if unit == "plain":
        bounds = "" if row.low == row.high else f" [{row.low:.3f}, {row.high:.3f}]"
        return f"{row.value:.3f}{bounds}"
    if row.low == row.high:
        return numbers.in_unit(row.value, unit)
    return f"{numbers.in_unit(row.value, unit)} {numbers.interval(row.low, row.high, unit)}".strip()


def notes(report: Report) -> list[str]:
    """How figures were compared, or why they were not, each once with the figures it is about."""
    about: dict[str, list[str]] = {}
    for row in report.baseline.changes if report.baseline else ():
        if row.note:
            about.setdefault(row.note, []).append(TITLES.get(row.metric, row.metric))
    return [f"{', '.join(dict.fromkeys(titles))}: {note}" for note, titles in about.items()]


def _context(report: Report) -> Context | None:
    if report.baseline is None:
        return None
    return {"sentence": report.baseline.sentence, "changes": changes(report), "notes": notes(report)}


BASELINE = Section("baseline", "Since the last release", packaged("baseline"), _context)
