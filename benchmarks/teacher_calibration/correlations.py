"""What goes with a teacher's calibration over the 21 teachers."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
from cells import STUDENTS, TEACHERS
from hypotheses import CALIBRATED, RAW, accuracies, of_teachers
from intervals_over_runs import over_teachers, partial, pearson, slope, spearman, z_scores
from markdown import per_cent, shown, table
from results import Results, top1
from scatter import Points, scatter

Drawn = tuple[str, dict[str, str]]
PREDICTORS = {
    "ACE by class": "ace_classwise",
    "ECE": "ece",
    "over-confident part of ECE": "ece_over",
    "NLL": "nll",
    "top-1": "top1",
}
MANY = "resnet8x4"
"""The architecture of most teachers."""

PAIR_WITHIN = 0.01
"""The largest difference in top-1 of a pair of teachers."""


def correlation(results: Results, kind: str) -> Drawn:
    """Students' accuracy over teachers' figures."""
    title = "### Over teachers\n\n"
    raw = accuracies(results)
    if raw is None:
        return title + "Not concluded: students of some teachers are missing.\n", {}
    name = f"evidence-ace-{kind}.svg"
    groups = [
        Points(student, of_teachers(results, "ace_classwise"), raw[:, number], list(TEACHERS))
        for number, student in enumerate(STUDENTS)
    ]
    picture = scatter(
        groups,
        x_name="teacher's ACE by class (%)",
        y_name="student's top-1 (%)",
        title="Students over their teachers' calibration error",
        description="One dot for each raw teacher and student: student top-1 over teacher ACE by class.",
    )
    text = f"{title}![Student top-1 over teacher ACE](pictures/{name})\n\n{_correlations(results)}\n"
    return f"{text}{_left_out(results, raw)}\n{_dose(results)}", {name: picture}


def _correlations(results: Results) -> str:
    accuracy, rows = of_teachers(results, "top1"), []
    for how in (RAW, CALIBRATED):
        values = results.over_teachers(how, top1)
        if values is None:
            continue
        for number, student in enumerate(STUDENTS):
            for name, key in PREDICTORS.items():
                x, y = of_teachers(results, key, how), values[:, number]
                straight = over_teachers(pearson, x, y)
                given = shown(over_teachers(partial, x, y, accuracy), "") if key != "top1" else ""
                ranks = over_teachers(spearman, x, y)
                figures = (straight, ranks, straight.squared())
                rows.append((student, how, name, *(shown(each, "") for each in figures), given))
    head = (
        "student",
        "teacher",
        "figure of the teacher, as the student sees it",
        "Pearson",
        "Spearman",
        "R²",
    )
    most = sum(network["name"] == MANY for network, _ in TEACHERS.values())
    return table((*head, "partial, given top-1"), rows) + (
        "\n95 % intervals over teachers (BCa; those of R² are Pearson's, squared). They take the teachers as "
        f"drawn one by one, while {most} of them are {MANY}: "
        "where architectures differ in more than these figures, such intervals are too short.\n"
    )


def _left_out(results: Results, raw: np.ndarray) -> str:
    """P1 and plain correlations without each architecture in turn, and within the one that has most."""
    architectures = np.array([network["name"] for network, _ in TEACHERS.values()])
    students, accuracy = z_scores(raw), of_teachers(results, "top1")
    rows = []
    sets = {f"without {name}": architectures != name for name in dict.fromkeys(architectures)}
    for name, kept in (sets | {f"{MANY} alone": architectures == MANY}).items():
        ace = of_teachers(results, "ace_classwise")[kept]
        rest = over_teachers(partial, ace, z_scores(raw[kept]), accuracy[kept])
        plain = (pearson(of_teachers(results, key)[kept], students[kept]) for key in PREDICTORS.values())
        rows.append((name, f"{int(kept.sum())}", shown(rest, ""), *(f"{each:+.3f}" for each in plain)))
    head = ("teachers", "number", "P1", *(f"Pearson, {name}" for name in PREDICTORS))
    return "P1 and plain correlations over some of the teachers, raw, mean of both students:\n\n" + table(
        head, rows
    )


def _dose(results: Results) -> str:
    """Calibrated less raw over the temperature by which each teacher was calibrated."""
    raw, calibrated = (results.over_teachers(how, top1) for how in (RAW, CALIBRATED))
    if raw is None or calibrated is None:
        return ""
    gains = (calibrated - raw).mean(axis=1)
    distances = np.abs(np.log2(of_teachers(results, "temperature")))
    rows = [
        ("mean over teachers", shown(over_teachers(np.mean, gains))),
        ("for each doubling or halving of the logits", shown(over_teachers(slope, distances, gains))),
        ("Pearson, with the distance of log2 T from 0", shown(over_teachers(pearson, distances, gains), "")),
    ]
    low, high = (end(of_teachers(results, "temperature")) for end in (np.min, np.max))
    return (
        "Calibrated less raw, top-1 (points), over the teacher's temperature T, mean of both students, one "
        "seed. This is not in the design: it was added when the first teachers showed temperatures near 1, "
        f"where calibrating changes little. T reaches from {low:.2f} to {high:.2f} here.\n\n"
        + table(("", "value"), rows)
    )


def pairs(results: Results) -> str:
    """Two teachers of one architecture with equal accuracy and other calibration."""
    text = "### Equal accuracy, other calibration\n\n"
    if len(results.teachers) < len(TEACHERS):
        return text + "Not concluded: some teachers are not trained.\n"
    pair = chosen_pair({name: each["calibration_split"] for name, each in results.teachers.items()})
    if pair is None:
        return text + "No two teachers of one architecture are within a point of top-1.\n"
    rows = []
    for name in pair:
        each = results.teachers[name]
        students = [results.row("kd", name, student, RAW) for student in STUDENTS]
        tops = ["runs missing" if row is None else per_cent(top1(row), 2) for row in students]
        rows.append((name, per_cent(each["top1"], 2), per_cent(each["ece"], 2), *tops))
    return (
        text
        + (
            "Of all pairs of one architecture within a point of top-1 on the calibration split, that with "
            "the largest difference in ECE there; figures on test, raw teachers, one seed.\n\n"
        )
        + table(("teacher", "top-1 (%)", "ECE (%)", *(f"{student}, top-1 (%)" for student in STUDENTS)), rows)
    )


def chosen_pair(split: dict[str, Any]) -> tuple[str, str] | None:
    """The better and the worse calibrated teacher of the design's pair, by calibration-split figures."""
    candidates = [
        (a, b)
        for a, b in combinations(TEACHERS, 2)
        if TEACHERS[a][0]["name"] == TEACHERS[b][0]["name"]
        and abs(split[a]["top1"] - split[b]["top1"]) < PAIR_WITHIN
    ]
    if not candidates:
        return None
    a, b = max(candidates, key=lambda pair: abs(split[pair[0]]["ece"] - split[pair[1]]["ece"]))
    return (a, b) if split[a]["ece"] < split[b]["ece"] else (b, a)
