"""Section Classes: how well each class is recognised, by each precision, and what is taken for what."""

from __future__ import annotations

from calkd_edge.records import Json, Quality, Report
from calkd_edge.release.report import numbers
from calkd_edge.release.report.section import Context, Section, Table, calibrated, packaged

SHOWN = 12
"""Classes in the table; the others are folded."""

KINDS = 10
"""Kinds of wrong answers in the table."""


def _measured(report: Report) -> list[tuple[str, Quality]]:
    """The student's files, then the teacher's, with figures of their classes; short names on one device."""
    rows = [(m, label, m.quality) for m, label in calibrated(report) if m.is_released]
    ordered = sorted(rows, key=lambda row: row[0].model != "student")
    is_one = len({(m.device, m.runtime) for m, _, _ in rows}) == 1
    return [
        (f"{m.model} {m.precision}" if is_one else label, quality)
        for m, label, quality in ordered
        if quality is not None and quality.by_class
    ]


def classes(report: Report) -> Table:
    """One line for each class: its images, recall by each file, precision and calibration error by the first.

    The class that the first file recognises worst is first.
    """
    measured = _measured(report)
    if not measured:
        return Table((), ())
    first = measured[0][1].by_class
    order = sorted(range(len(first)), key=lambda k: one.value if (one := first[k].recall) else 2.0)
    head = ("class", "images", *(f"recall: {label}" for label, _ in measured))
    lines = []
    for k in order:
        error = first[k].calibration_error
        lines.append(
            (
                _name(report, k),
                f"{first[k].images:,}",
                *(numbers.estimate(quality.by_class[k].recall, "share") for _, quality in measured),
                numbers.estimate(first[k].precision, "share"),
                f"{numbers.percent(error.value)} ≤ {numbers.percent(error.high)}",
            )
        )
    return Table((*head, f"precision: {measured[0][0]}", "calibration error"), tuple(lines))


def confused(report: Report) -> Table:
    """The most frequent wrong answers of the first file, and how often the others give them."""
    measured = _measured(report)
    counts = [{(one.label, one.answer): one.images for one in quality.confused} for _, quality in measured]
    lines = []
    for one in measured[0][1].confused[:KINDS] if measured else ():
        pair = one.label, one.answer
        times = [_times(given, pair, quality) for given, (_, quality) in zip(counts, measured, strict=True)]
        lines.append((_name(report, one.label), _name(report, one.answer), *times))
    return Table(("class", "taken for", *(f"images: {label}" for label, _ in measured)), tuple(lines))


def _times(counts: dict[tuple[int, int], int], pair: tuple[int, int], quality: Quality) -> str:
    """How often; of the rarest kinds only a bound is kept."""
    if pair in counts:
        return str(counts[pair])
    wrong = round((1.0 - quality.top1.value) * quality.images)
    return "0" if sum(counts.values()) >= wrong else f"at most {min(counts.values())}"


def _name(report: Report, label: int) -> str:
    names: Json = report.data.get("classes")
    return str(names[label]) if isinstance(names, list) and label < len(names) else str(label)


def summaries(report: Report) -> list[str]:
    """One sentence a file: balanced accuracy and the worst class."""
    return [
        f"{label}: balanced accuracy {numbers.estimate(quality.balanced_accuracy, 'share')}, lowest recall "
        f"{numbers.estimate(quality.worst_recall, 'share')}"
        for label, quality in _measured(report)
    ]


def _context(report: Report) -> Context | None:
    table = classes(report)
    if not table.lines:
        return None
    return {
        "summaries": summaries(report),
        "worst": Table(table.head, table.lines[:SHOWN]),
        "rest": Table(table.head, table.lines[SHOWN:]),
        "confused": confused(report),
    }


CLASSES = Section("classes", "Classes", packaged("classes"), _context)
