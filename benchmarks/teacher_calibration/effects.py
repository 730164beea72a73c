"""What changes with the teacher's calibration: over teachers, by loss, and beside the two rivals."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from cells import HEADLINE, LOSSES, STUDENTS, TEACHERS
from hypotheses import CALIBRATED, FIXED, RAW, accuracies, by_loss, of_teachers
from intervals_over_runs import explained, over_seeds, over_teachers, partial, pearson, spearman, z_scores
from markdown import shown, table
from results import Results, Row, ece, ece_own, nll, nll_corrupted, nll_own, top1
from scatter import Bar, Points, differences, scatter

Drawn = tuple[str, dict[str, str]]
PREDICTORS = {
    "ACE by class": "ace_classwise",
    "ECE": "ece",
    "over-confident part of ECE": "ece_over",
    "NLL": "nll",
    "top-1": "top1",
}
ALGEBRA = """### The algebra of R1

Let z be the teacher's logits, v the student's, T the teacher's temperature, tau that of KD. Both ways show
the student the same soft labels, p = softmax(z / (T tau)). Calibrating compares them with softmax(v / tau),
moving with softmax(v / (T tau)). The loss is multiplied by the square of its KD temperature, so the
gradients with respect to v are

- calibrated teacher, KD at tau: tau (softmax(v / tau) - p)
- raw teacher, KD at T tau: T tau (softmax(v / (T tau)) - p)

They are equal for T = 1 alone. Where |v| is small beside tau, softmax(v / s) is near 1/C + (v - mean v) /
(C s): the pull on v is then (v - mean v) / C in both, and the pull of the labels, tau (1/C - p), is T times
stronger when tau is moved. At the end of learning the first has v = z / T, the calibrated teacher, and the
second v = z, the raw one. So the two differ in how strongly teaching pulls beside cross-entropy, and in how
confident the student ends, not in what is shown.
"""


def correlation(results: Results, kind: str) -> Drawn:
    """Students' accuracy over teachers' figures."""
    title = "### Over teachers\n\n"
    if accuracies(results) is None:
        return title + "Not concluded: students of some teachers are missing.\n", {}
    accuracy = of_teachers(results, "top1")
    rows, groups = [], []
    for how in (RAW, CALIBRATED):
        values = results.over_teachers(how, top1)
        if values is None:
            continue
        for number, student in enumerate(STUDENTS):
            for name, key in PREDICTORS.items():
                x, y = of_teachers(results, key), values[:, number]
                given = shown(over_teachers(partial, x, y, accuracy), "") if key != "top1" else ""
                rows.append(
                    (
                        student,
                        how,
                        name,
                        *(shown(over_teachers(each, x, y), "") for each in (pearson, spearman, explained)),
                        given,
                    )
                )
            if how == RAW:
                groups.append(
                    Points(student, of_teachers(results, "ace_classwise"), values[:, number], list(TEACHERS))
                )
    head = (
        "student",
        "teacher",
        "figure of the raw teacher",
        "Pearson",
        "Spearman",
        "R²",
        "partial, given top-1",
    )
    names = ("evidence-ace", kind)
    picture = scatter(
        groups,
        x_name="teacher's ACE by class (%)",
        y_name="student's top-1 (%)",
        title="Students over their teachers' calibration error",
        description="One dot for each raw teacher and student: student top-1 over teacher ACE by class.",
    )
    return title + (
        f"![Student top-1 over teacher ACE](pictures/{names[0]}-{kind}.svg)\n\n{table(head, rows)}\n"
        f"{_left_out(results)}"
    ), {f"{names[0]}-{kind}.svg": picture}


def _left_out(results: Results) -> str:
    """The primary correlation without each architecture in turn."""
    values = accuracies(results)
    assert values is not None
    architectures = np.array([network["name"] for network, _ in TEACHERS.values()])
    ace, accuracy = of_teachers(results, "ace_classwise"), of_teachers(results, "top1")
    rows = []
    for name in dict.fromkeys(architectures):
        kept = architectures != name
        rest = over_teachers(partial, ace[kept], z_scores(values[kept]), accuracy[kept])
        rows.append((str(name), f"{int(kept.sum())}", shown(rest, "")))
    return "P1 without one architecture:\n\n" + table(("left out", "teachers", "partial correlation"), rows)


def intervention(results: Results, kind: str) -> Drawn:
    """Calibrated less raw by loss."""
    figures: tuple[tuple[str, Callable[[Row], float], str], ...] = (
        ("top-1 (points)", top1, "points"),
        ("NLL", nll, "nats"),
        ("NLL, own temperature", nll_own, "nats"),
        ("ECE (points)", ece, "points"),
        ("ECE, own temperature (points)", ece_own, "points"),
    )
    rows, bars = [], []
    for loss in LOSSES:
        for how in (CALIBRATED, FIXED):
            intervals = [by_loss(loss, figure, how)(results) for _, figure, _ in figures]
            rows.append(
                (
                    f"{loss}, {how}",
                    *(shown(each, unit) for each, (_, _, unit) in zip(intervals, figures, strict=True)),
                )
            )
            if intervals[0] is not None:
                bars.append(Bar(f"{loss}, {how}", intervals[0].value, intervals[0].low, intervals[0].high))
    text = "### Calibrated less raw teacher, by loss\n\n"
    pairs, seeds = len(HEADLINE) * len(STUDENTS), len(results.scale.seeds)
    text += f"Means over {pairs} pairs of teacher and student and {seeds} seeds, with 95 % intervals.\n\n"
    drawn = {}
    if bars:
        name = f"evidence-losses-{kind}.svg"
        drawn[name] = differences(
            bars,
            x_name="top-1, less that of the raw teacher's student (points)",
            title="What calibrating the teacher changes",
            description="Differences in student top-1 by loss, with 95 % intervals.",
        )
        text += f"![Differences by loss](pictures/{name})\n\n"
    return text + table(("loss and teacher", *(name for name, _, _ in figures)), rows), drawn


def rivals(results: Results) -> str:
    """Both rivals, pair by pair."""
    rows = []
    for first, second, figure, name, unit in (
        (
            ("kd", CALIBRATED),
            ("moved tau", RAW),
            top1,
            "top-1, calibrated less moved KD temperature",
            "points",
        ),
        (
            ("kd", CALIBRATED),
            ("moved tau", RAW),
            nll_own,
            "NLL, own temperature, calibrated less moved",
            "nats",
        ),
        (("kd", CALIBRATED), ("kd", RAW), nll, "NLL, calibrated less raw", "nats"),
        (("kd", CALIBRATED), ("kd", RAW), nll_own, "NLL, own temperature, calibrated less raw", "nats"),
        (("kd", CALIBRATED), ("kd", RAW), nll_corrupted, "NLL under corruption, calibrated less raw", "nats"),
    ):
        values = results.differences(first, second, figure)
        each = (
            [""] * 4
            if values is None
            else [f"{(100 if unit == 'points' else 1) * v:+.3f}" for v in values.mean(axis=1)]
        )
        rows.append((name, shown(None if values is None else over_seeds(values), unit), *each))
    names = [f"{teacher}, {student}" for teacher in HEADLINE for student in STUDENTS]
    return "### The two rivals\n\n" + table(("", "mean", *names), rows)
