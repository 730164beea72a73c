"""What `data.balance: sampler` does to a rare class: recall of each class, with and without.

trash/ has 137 images of the class of that name among 2,527. The recipe of students.py for it is run as it is
and with the sampler, for each seed, teacher and student alike; no baseline.

    PYTHONPATH=benchmarks/distillation:benchmarks/students python benchmarks/students/rare_class.py \\
      --store DIR --data DIR [--jobs N]
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from students import SETS, wanted
from study import Study, Wanted, figures, folder_of

from calkd_edge.records import Predictions

SET, RARE = "trash", "trash"
SEEDS = SETS[SET].seeds
BALANCE = ("none", "sampler")
MODELS = ("student", "teacher")


def run(balance: str, seed: int, data: Path) -> Wanted:
    """One student."""
    recipe = wanted(SET, seed, data).recipe
    recipe["data"]["balance"] = balance
    recipe["distill"]["baseline"] = False
    recipe["precisions"] = [{"name": "fp32"}]
    return Wanted(f"{balance}-{seed}", {"balance": balance, "seed": seed}, recipe)


def with_recall(store: Path, out: Path) -> dict[str, Any]:
    """The figures of a run, with each model's recall of each class, calibrated, at fp32."""
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    row = figures(store, out)
    for model in MODELS:
        test = Predictions.load(folder_of(store, report, f"predict-{model}-fp32@local") / "test.npz")
        answers = test.logits.argmax(axis=1)
        row[f"{model} by class"] = {
            name: {
                "images": int((test.labels == number).sum()),
                "recall": float((answers[test.labels == number] == number).mean()),
                "precision": float((test.labels[answers == number] == number).mean()),
            }
            for number, name in enumerate(report["data"]["classes"])
        }
    return row


def summary(rows: list[Mapping[str, Any]], model: str) -> dict[str, float]:
    """Means over seeds: the rare class, the mean over classes, and all images."""
    classes = [row[f"{model} by class"] for row in rows]
    top = [row["top1"]["value"] if model == "student" else row[model]["top1"]["value"] for row in rows]
    return {
        "recall of the rare class": statistics.mean(each[RARE]["recall"] for each in classes),
        "precision of the rare class": statistics.mean(each[RARE]["precision"] for each in classes),
        "balanced accuracy": float(np.mean([[line["recall"] for line in each.values()] for each in classes])),
        "top1": statistics.mean(top),
        "nll": statistics.mean(
            row["nll"]["value"] if model == "student" else row[model]["nll"]["value"] for row in rows
        ),
    }


def main() -> None:
    """Both ways, every seed; the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    options = parser.parse_args()
    study = Study(options.store, Path(__file__).with_suffix(".json"), options.jobs, with_recall)
    rows = study.bring(run(balance, seed, options.data) for balance in BALANCE for seed in SEEDS)
    table = {
        balance: {model: summary([rows[f"{balance}-{seed}"] for seed in SEEDS], model) for model in MODELS}
        for balance in BALANCE
    }
    study.write(table=table)
    print(json.dumps(table, indent=1))


if __name__ == "__main__":
    main()
