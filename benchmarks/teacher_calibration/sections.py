"""The tables of docs/evidence.md: what was run, and what each cell came to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from cells import HEADLINE, STUDENTS, SWEPT, TAU, TEACHERS, TEMPERATURES
from hypotheses import CALIBRATED, HYPOTHESES, RAW
from markdown import per_cent, shown, table
from results import Results, ece, ece_own, nll, nll_own, top1

PAIR_WITHIN = 0.01
"""The largest difference in top-1 of a pair of teachers."""


def scale(results: Results, kind: str) -> str:
    """What was trained, on what."""
    devices = sorted({row["device"] for row in results.rows.values()})
    versions = sorted(
        {" ".join(f"{k} {v}" for k, v in row["versions"].items()) for row in results.rows.values()}
    )
    images = f"{results.scale.train_images or 45_000:,}"
    amount = results.scale
    return (
        f"## {'On GPUs' if kind == 'cuda' else 'On CPUs'}\n\n"
        f"{images} training images, 5,000 for calibration, 10,000 test images; teachers of "
        f"{amount.teacher_epochs} epochs, students of {amount.student_epochs}, {len(amount.seeds)} seeds. "
        f"Devices: {', '.join(devices)}. Versions: {'; '.join(versions)}.\n"
    )


def outcome(results: Results) -> str:
    """Each hypothesis, its figure, and what follows."""
    rows = []
    for each in HYPOTHESES.values():
        interval = each.interval(results)
        level = f" ({100 * interval.level:g} %)" if interval else ""
        unit = " points" if each.unit == "points" else f" {each.unit}" if each.unit else ""
        rows.append(
            (
                each.name,
                each.figure,
                shown(interval, each.unit) + unit * bool(interval) + level,
                each.conclusion(interval),
            )
        )
    return (
        "### Outcome\n\n"
        + table(("", "figure", "value", "conclusion"), rows)
        + (
            "\nH1 and H2 are tested, both together at 95 %; all other intervals describe. "
            "With about twenty of them, one in twenty excludes zero by chance.\n"
        )
    )


def completeness(results: Results) -> str:
    """How much of each cell was run."""
    rows = [
        (name, f"{len(runs)}", f"{len(runs) - results.missing(runs)}")
        for name, runs in results.cells().items()
    ]
    return (
        "### What was run\n\n"
        + table(("cell", "runs", "done"), rows)
        + ("\nCells share runs: a headline student of the first seed is also one of the correlation.\n")
    )


def teachers(results: Results) -> str:
    """The teachers as they learnt."""
    rows = []
    for name in TEACHERS:
        figures = results.teachers.get(name)
        if figures is None:
            rows.append((name, *["not trained"] + [""] * 5))
            continue
        shares = (per_cent(figures[key], 2) for key in ("top1", "ece", "ece_over"))
        top, error, over = shares
        rows.append(
            (
                name,
                top,
                f"{figures['nll']:.3f}",
                error,
                over,
                per_cent(figures["ace_classwise"], 3),
                f"{figures['temperature']:.2f}",
            )
        )
    head = (
        "teacher",
        "top-1 (%)",
        "NLL",
        "ECE (%)",
        "over-confident part (%)",
        "ACE by class (%)",
        "temperature",
    )
    return "### Teachers\n\nOn test images; the temperature is fitted on the calibration split.\n\n" + table(
        head, rows
    )


def no_teacher(results: Results) -> str:
    """Students from labels alone beside those with a teacher."""
    rows = []
    figures = (top1, nll, nll_own, ece, ece_own)
    for student in STUDENTS:
        for cell, teacher, how in (
            ("labels", HEADLINE[0], "none"),
            *(("kd", name, how) for name in HEADLINE for how in (RAW, CALIBRATED)),
        ):
            found = [results.row(cell, teacher, student, how, seed) for seed in results.scale.seeds]
            if any(row is None for row in found):
                rows.append(
                    (student, "none" if cell == "labels" else f"{teacher}, {how}", *["runs missing"] * 5)
                )
                continue
            means = [np.mean([figure(row) for row in found if row is not None]) for figure in figures]
            rows.append(
                (
                    student,
                    "none" if cell == "labels" else f"{teacher}, {how}",
                    per_cent(means[0], 2),
                    f"{means[1]:.3f}",
                    f"{means[2]:.3f}",
                    per_cent(means[3], 2),
                    per_cent(means[4], 2),
                )
            )
    head = (
        "student",
        "teacher",
        "top-1 (%)",
        "NLL",
        "NLL, own temperature",
        "ECE (%)",
        "ECE, own temperature (%)",
    )
    return "### Without a teacher\n\nMeans over seeds.\n\n" + table(head, rows)


def pairs(results: Results) -> str:
    """Two teachers of one architecture with equal accuracy and other calibration."""
    text = "### Equal accuracy, other calibration\n\n"
    if len(results.teachers) < len(TEACHERS):
        return text + "Not concluded: some teachers are not trained.\n"
    better, worse = chosen_pair({name: each["calibration_split"] for name, each in results.teachers.items()})
    rows = []
    for name in (better, worse):
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


def chosen_pair(split: dict[str, Any]) -> tuple[str, str]:
    """The better and the worse calibrated teacher of the design's pair, by calibration-split figures."""
    candidates = [
        (a, b)
        for a, b in combinations(TEACHERS, 2)
        if TEACHERS[a][0]["name"] == TEACHERS[b][0]["name"]
        and abs(split[a]["top1"] - split[b]["top1"]) < PAIR_WITHIN
    ]
    a, b = max(candidates, key=lambda pair: abs(split[pair[0]]["ece"] - split[pair[1]]["ece"]))
    return (a, b) if split[a]["ece"] < split[b]["ece"] else (b, a)


def sweep(results: Results) -> str:
    """Students over the teacher's temperature."""
    rows = []
    for teacher in SWEPT:
        fitted = results.teachers.get(teacher, {}).get("temperature")
        for student in STUDENTS:
            line = [results.row("sweep", teacher, student, temperature) for temperature in TEMPERATURES]
            tops = ["" if row is None else per_cent(top1(row), 2) for row in line]
            rows.append((f"{teacher}, {student}", "" if fitted is None else f"{fitted:.2f}", *tops))
    head = ("teacher and student", "T by NLL", *(f"T = {each:g}" for each in TEMPERATURES))
    return f"### The teacher's temperature\n\nStudent top-1 (%), one seed, KD at {TAU:g}.\n\n" + table(
        head, rows
    )


def further(results: Results) -> str:
    """Under corruption and after int8, first seed."""
    return (
        "### After int8\n\n"
        + table(
            ("student", "loss and teacher", "top-1, fp32 (%)", "top-1, int8 (%)", "KL to fp32", "NLL, int8"),
            _int8_rows(results),
        )
        + "\nFirst seed; each calibrated after quantization.\n"
    )


def _int8_rows(results: Results) -> Iterator[Sequence[str]]:
    for row in results.rows.values():
        if "int8" in row:
            int8 = row["int8"]
            what = (
                "labels alone"
                if row["cell"] == "labels"
                else f"{row['cell']}, {row['teacher']} {row['teacher_is']}"
            )
            yield (
                row["student"],
                what,
                per_cent(top1(row), 2),
                per_cent(int8["top1"], 2),
                f"{int8['kl_to_fp32']:.2e}",
                f"{int8['nll']:.3f}",
            )
