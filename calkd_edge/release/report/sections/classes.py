"""Section Classes: how well each class is recognised, by each precision, and what is taken for what."""

from __future__ import annotations

from markupsafe import Markup

from calkd_edge.records import Json, Quality, Report
from calkd_edge.release.report import figures, numbers
from calkd_edge.release.report.section import Context, Figure, Section, Table, calibrated, packaged

SHOWN, MOST = 12, 200
"""Classes in the first table; classes in both: of a thousand, the page would hold little else."""

BARS = 25
"""Classes in the figure: the worst."""

MAPPED = 25
"""Up to so many classes the wrong answers are drawn as a map."""

MOST_CHANGED = 3
"""Kinds of wrong answers whose change is named for each file."""

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
    order = sorted(range(len(first)), key=lambda k: recall.value if (recall := first[k].recall) else 2.0)
    head = ("class", "images", *(f"recall: {label}" for label, _ in measured))
    lines = []
    for k in order:
        error = first[k].calibration_error
        lines.append(
            (
                class_name(report, k),
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
    counts = [
        {(kind.label, kind.answer): kind.images for kind in quality.confused} for _, quality in measured
    ]
    lines = []
    for kind in measured[0][1].confused[:KINDS] if measured else ():
        pair = kind.label, kind.answer
        times = [_times(given, pair, quality) for given, (_, quality) in zip(counts, measured, strict=True)]
        lines.append((class_name(report, kind.label), class_name(report, kind.answer), *times))
    return Table(("class", "taken for", *(f"images: {label}" for label, _ in measured)), tuple(lines))


def changed(report: Report) -> list[str]:
    """For each further file, the kinds of wrong answers whose number differs most from the first file's."""
    measured = _measured(report)
    if not measured:
        return []
    first, reference = measured[0]
    before = {(kind.label, kind.answer): kind.images for kind in reference.confused}
    sentences = []
    for label, quality in measured[1:]:
        now = {(kind.label, kind.answer): kind.images for kind in quality.confused}
        both = sorted(before.keys() & now.keys(), key=lambda pair: -abs(now[pair] - before[pair]))
        kinds = [
            f"{class_name(report, pair[0])} for {class_name(report, pair[1])} {now[pair]} times "
            f"({before[pair]} by {first})"
            for pair in both[:MOST_CHANGED]
            if now[pair] != before[pair]
        ]
        if kinds:
            sentences.append(f"{label} takes {', '.join(kinds)}")
    return sentences


def _wrong(quality: Quality) -> int:
    """How many answers are wrong; 0 of a report whose figures are no shares."""
    share = 1.0 - quality.top1.value
    return round(share * quality.images) if 0.0 <= share <= 1.0 else 0


def _times(counts: dict[tuple[int, int], int], pair: tuple[int, int], quality: Quality) -> str:
    """How often; of the rarest kinds only a bound is kept."""
    if pair in counts:
        return str(counts[pair])
    wrong = _wrong(quality)
    return "0" if sum(counts.values()) >= wrong else f"at most {min(counts.values())}"


def class_name(report: Report, label: int) -> str:
    """The name of a class, else its number."""
    names: Json = report.data.get("classes")
    return str(names[label]) if isinstance(names, list) and label < len(names) else str(label)


def summaries(report: Report) -> list[str]:
    """One sentence a file: balanced accuracy and the worst class."""
    return [
        f"{label}: balanced accuracy {numbers.estimate(quality.balanced_accuracy, 'share')}, lowest recall "
        f"{numbers.estimate(quality.worst_recall, 'share')}"
        for label, quality in _measured(report)
    ]


def bars(report: Report) -> Figure:
    """Recall of the worst classes by the first file, with bounds."""
    label, quality = _measured(report)[0]
    known = [(figure, figure.recall) for figure in quality.by_class if figure.recall is not None]
    ordered = sorted(known, key=lambda pair: pair[1].value)
    rows = []
    for figure, recall in ordered[:BARS]:
        name = class_name(report, figure.label)
        hover = f"{name}: {numbers.estimate(recall, 'share')} of {figure.images:,}"
        rows.append(figures.Row(name, (figures.Mark(recall.value, recall.low, recall.high, "full", hover),)))
    sentence = "; ".join(mark.hover for row in rows for mark in row.marks)
    svg = figures.rows(
        rows, x=figures.shares("recall"), title=f"Recall of {label}", description=f"{sentence}.", bars=True
    )
    which = f"the {BARS} worst of {len(ordered)} classes" if len(ordered) > BARS else "each class"
    return Figure(f"Recall of {which} by {label}, with bounds; the worst first.", Markup(svg))


def wrong_answers(report: Report) -> Figure | None:
    """A map of what the first file takes for what; None with many classes or without wrong answers."""
    label, quality = _measured(report)[0]
    if len(quality.by_class) > MAPPED or not quality.confused:
        return None
    counts = {(kind.label, kind.answer): kind.images for kind in quality.confused}
    names = [class_name(report, figure.label) for figure in quality.by_class]
    wrong = _wrong(quality)
    shown = sum(counts.values())
    sentence = "; ".join(f"{n} {names[a]} for {names[b]}" for (a, b), n in list(counts.items())[:KINDS])
    svg = figures.confusion(
        names,
        counts,
        title=f"Wrong answers of {label}",
        description=f"{shown} of {wrong} are shown: {sentence}.",
    )
    return Figure(
        f"What {label} takes for what: {shown:,} of {wrong:,} wrong answers, in images.", Markup(svg)
    )


def _context(report: Report) -> Context | None:
    table = classes(report)
    if not table.lines:
        return None
    drawn = wrong_answers(report)
    return {
        "summaries": summaries(report),
        "drawn": [bars(report), *([drawn] if drawn else [])],
        "worst": Table(table.head, table.lines[:SHOWN]),
        "rest": Table(table.head, table.lines[SHOWN:MOST]),
        "left_out": max(len(table.lines) - MOST, 0),
        "changed": changed(report),
        "confused": confused(report),
    }


CLASSES = Section("classes", "Classes", packaged("classes"), _context)
