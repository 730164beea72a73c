"""One teacher and student of the headline again, from scratch, beside what the results say of them.

    PYTHONPATH=benchmarks/distillation python benchmarks/teacher_calibration/repeat.py --store EMPTY_DIR
        [--root CIFAR100_DIR] [--jobs N]

Trains the teacher and, by `kd`, its students raw and calibrated with every seed: rows of repeat.json beside
this file. docs/evidence.md compares them with cpu.json (`page.py`).
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import cells
from cells import Scale
from figures import row_of
from hypotheses import CALIBRATED, RAW
from intervals_over_runs import of_block
from markdown import shown, table
from results import PAIRS, Results, nll, nll_own, top1
from run import device_name
from study import Study, Wanted

RESULT = Path(__file__).with_suffix(".json")
PAIR = PAIRS[-2]
"""The teacher that trains fastest, with the first student."""


def pair_runs(scale: Scale) -> list[Wanted]:
    """The pair's runs by kd, raw and calibrated, every seed."""
    return [
        run
        for run in cells.headline(scale, "kd")
        if (run.facts["teacher"], run.facts["student"]) == PAIR
        and run.facts["teacher_is"] in (RAW, CALIBRATED)
    ]


def repeated(results: Results, again: Results) -> str:
    """What the pair comes to again, beside its intervals in the results."""
    rows, calibrated, raw = [], ("kd", CALIBRATED), ("kd", RAW)
    for figure, name, unit in (
        (top1, "top-1", "points"),
        (nll, "NLL", "nats"),
        (nll_own, "NLL, own temperature", "nats"),
    ):
        stated = results.differences(calibrated, raw, figure)
        new = again.of_pair(PAIR, calibrated, raw, figure)
        if stated is None or new is None:
            rows.append((name, "runs missing", "", ""))
            continue
        interval = of_block(stated, PAIRS.index(PAIR))
        value = f"{100 * new.mean():+.2f}" if unit == "points" else f"{new.mean():+.3f}"
        inside = "yes" if interval.low <= new.mean() <= interval.high else "no"
        rows.append((f"{name}, calibrated less raw", shown(interval, unit), value, inside))
    same = sum(
        each["student_figures"] == results.rows.get(name, {}).get("student_figures")
        for name, each in again.rows.items()
    )
    devices = " and ".join(sorted({row["device"] for row in again.rows.values()}))
    text = (
        f"`repeat.py` trained the teacher {PAIR[0]} and its students {PAIR[1]} by `kd` again, from an empty "
        f"store, on {devices}. {same} of {len(again.rows)} students have the very figures of the study. "
        "Stated intervals: 95 %, of means over seeds, with the variance that all pairs share.\n\n"
    )
    head = ("figure", "stated", "again", "inside")
    return "### One pair again, from scratch\n\n" + text + table(head, rows)


def main() -> None:
    """Train and keep the rows."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--root", default=None, help="holds CIFAR-100; downloaded when left out")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    options = parser.parse_args()
    study = Study(options.store, RESULT, options.jobs, partial(row_of, device_name("cpu")))
    study.bring(pair_runs(Scale.of("cpu", options.root)))


if __name__ == "__main__":
    main()
