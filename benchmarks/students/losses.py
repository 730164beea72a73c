"""Which loss teaches best where images are few? Chosen on calibration splits; the test images only report.

The sets of students.py and its recipes, each student from two seeds and by several losses, from one teacher
of the set, calibrated as the recipe says. "labels" has no teacher. What is finished is not run again.

    PYTHONPATH=benchmarks/distillation python benchmarks/students/losses.py --store DIR --data DIR --jobs 2
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

from students import SETS, wanted
from study import Study, Wanted, figures, right, top1_difference

SEEDS = (17, 18)


def _kd(weight: float, temperature: float) -> list[dict[str, Any]]:
    kd = {"name": "kd", "weight": weight, "temperature": temperature}
    return [{"name": "cross_entropy", "weight": round(1 - weight, 2)}, kd]


def _dist(weight: float, temperature: float) -> list[dict[str, Any]]:
    dist = {"name": "dist", "weight": weight, "beta": 1.0, "gamma": 1.0, "temperature": temperature}
    return [{"name": "cross_entropy", "weight": 1.0}, dist]


LOSSES = {
    "labels": [{"name": "cross_entropy", "weight": 1.0}],
    "kd 0.9, T 4": _kd(0.9, 4.0),
    "kd 0.5, T 4": _kd(0.5, 4.0),
    "dist 2, T 4": _dist(2.0, 4.0),
}


def one_loss(name: str, loss: str, seed: int, data: Path) -> Wanted:
    """A student of a set by one loss."""
    recipe = wanted(name, seed, data).recipe
    recipe["distill"] |= {"losses": LOSSES[loss], "baseline": False}
    recipe["precisions"] = [{"name": "fp32"}]
    return Wanted(f"{name}, {loss}, {seed}", {"set": name, "loss": loss, "seed": seed}, recipe)


def row_of(store: Path, out: Path) -> dict[str, Any]:
    """The student's figures, with those of its last epoch on the calibration split."""
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    return figures(store, out) | {"last_epoch": report["models"]["student"]["last_epoch"]}


def summary(rows: dict[tuple[str, int], dict[str, Any]]) -> dict[str, Any]:
    """By loss, means over seeds: NLL and top-1 on the calibration split, top-1 on test, the gain."""
    told: dict[str, Any] = {}
    for loss in LOSSES:
        each = [(rows[loss, seed], rows["labels", seed]) for seed in SEEDS]
        told[loss] = {
            "calibration_nll": statistics.mean(row["calibration_split_nll"] for row, _ in each),
            "calibration_top1": statistics.mean(row["last_epoch"]["calibration_top1"] for row, _ in each),
            "test_top1": statistics.mean(float(right(row).mean()) for row, _ in each),
            "gain": [top1_difference(row, labels) for row, labels in each if loss != "labels"],
        }
    return told


def main() -> None:
    """Every set, loss and seed; then what each loss came to, and which one the calibration splits choose."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--only", choices=sorted(SETS), action="append")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    options = parser.parse_args()
    study = Study(options.store, Path(__file__).with_suffix(".json"), options.jobs, row_of)
    told: dict[str, Any] = {}
    for name in SETS:
        runs = {(loss, seed): one_loss(name, loss, seed, options.data) for seed in SEEDS for loss in LOSSES}
        if name not in (options.only or SETS) and any(run.name not in study.rows for run in runs.values()):
            continue
        rows = study.bring(runs.values())
        told[name] = summary({key: rows[run.name] for key, run in runs.items()})
    chosen = {
        name: min(losses, key=lambda loss: losses[loss]["calibration_nll"]) for name, losses in told.items()
    }
    study.write(chosen=chosen, losses=told)


if __name__ == "__main__":
    main()
