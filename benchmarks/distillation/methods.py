"""Students from scratch, by KD and by other losses, from one teacher, on a part of CIFAR-100.

Runs the packaged short recipes as anybody would (`calkd-edge compress`), with the losses exchanged and the
student drawn from several seeds. Which loss is "preferred" is decided by the calibration split of the first
seed (NLL after calibration); the test split only reports. What is finished is reused, so that a run that was
cut goes on where it was. Writes its result beside itself.

    python benchmarks/distillation/methods.py --store DIR --root CIFAR100_DIR
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from calkd_edge.intervals.proportions import tango
from calkd_edge.records import Predictions
from calkd_edge.scores import top1

HERE = Path(__file__).parent
RECIPES = HERE.parents[1] / "recipes"
STUDENTS = ("mobilenet_cifar100_short", "shufflenet_cifar100_short")
SEEDS = (17, 18)
LOSSES: dict[str, list[dict[str, Any]]] = {
    "scratch": [{"name": "cross_entropy", "weight": 1.0}],
    "kd": [
        {"name": "cross_entropy", "weight": 0.1},
        {"name": "kd", "weight": 0.9, "temperature": 4.0},
    ],
    "dkd": [
        {"name": "cross_entropy", "weight": 1.0},
        {"name": "dkd", "weight": 1.0, "alpha": 1.0, "beta": 8.0, "temperature": 4.0, "warmup_epochs": 2},
    ],
    "dist": [
        {"name": "cross_entropy", "weight": 1.0},
        {"name": "dist", "weight": 2.0, "beta": 1.0, "gamma": 1.0, "temperature": 4.0},
    ],
}
CANDIDATES = ("dkd", "dist")


def recipe_of(student: str, method: str, seed: int, root: str | None) -> dict[str, Any]:
    """The packaged recipe with other losses and another seed of the student; fp32 alone is measured."""
    tree = yaml.safe_load((RECIPES / f"{student}.yaml").read_text(encoding="utf-8"))
    tree["distill"] |= {"losses": LOSSES[method], "seed": seed}
    tree |= {"precisions": [{"name": "fp32"}], "gates": []}
    if root is not None:
        tree["data"]["root"] = root
    return tree


def brought(student: str, method: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """One run's figures, and which test images it got right."""
    out = options.store / "runs" / f"{student}-{method}-{seed}"
    out.mkdir(parents=True, exist_ok=True)
    recipe = out / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(recipe_of(student, method, seed, options.root)), encoding="utf-8")
    command = [sys.executable, "-m", "calkd_edge", "compress", "--recipe", str(recipe)]
    command += ["--store", str(options.store), "--out", str(out), "--reuse-measurements"]
    with (out / "log.txt").open("a", encoding="utf-8") as log:
        subprocess.run(command, stdout=log, stderr=log, check=True)
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    folders = {
        stage["stage"]: options.store / "objects" / stage["fingerprint"][:2] / stage["fingerprint"]
        for stage in report["plan"]
    }
    found = Predictions.load(folders["predict-student-fp32@local"] / "test.npz")
    calibration = json.loads((folders["calibrate-student-fp32"] / "calibration.json").read_text("utf-8"))
    rows = {
        (row["model"], row["calibrated"]): row["quality"]
        for row in report["measurements"]
        if row["precision"] == "fp32"
    }
    return {
        "student": student,
        "method": method,
        "seed": seed,
        "calibration_split_nll": calibration["nll_after"],
        "temperature": calibration["temperature"],
        "top1": rows["student", True]["top1"],
        "nll": rows["student", True]["nll"],
        "ece": rows["student", True]["ece"],
        "ece_uncalibrated": rows["student", False]["ece"],
        "teacher": {
            "top1": rows["teacher", True]["top1"],
            "nll": rows["teacher", True]["nll"],
            "ece": rows["teacher", True]["ece"],
            "ece_uncalibrated": rows["teacher", False]["ece"],
        },
        "hits": top1(found.logits) == found.labels,
    }


def against(first: dict[str, Any], second: dict[str, Any]) -> dict[str, float]:
    """The paired difference in top-1, first less second, with Tango's interval."""
    only_first = int((first["hits"] & ~second["hits"]).sum())
    only_second = int((second["hits"] & ~first["hits"]).sum())
    bounds = tango(only_first, only_second, len(first["hits"]))
    return {"value": bounds.value, "low": bounds.low, "high": bounds.high}


def main() -> None:
    """Every student, method and seed, then what they came to."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--root", default=None, help="holds CIFAR-100; downloaded when left out")
    options = parser.parse_args()
    runs: list[dict[str, Any]] = []
    pairs, preferred = [], {}
    for student in STUDENTS:
        of = {
            (method, seed): brought(student, method, seed, options)
            for seed in SEEDS[:1]
            for method in ("scratch", "kd", *CANDIDATES)
        }
        best = min(CANDIDATES, key=lambda method: of[method, SEEDS[0]]["calibration_split_nll"])
        preferred[student] = best
        of |= {
            (method, seed): brought(student, method, seed, options)
            for seed in SEEDS[1:]
            for method in ("scratch", "kd", best)
        }
        for seed in SEEDS:
            for method in ("kd", best):
                difference = against(of[method, seed], of["scratch", seed])
                pairs.append({"student": student, "seed": seed, "method": method, "top1_gain": difference})
        runs += of.values()
    facts = [{key: value for key, value in run.items() if key != "hits"} for run in runs]
    told = {"runs": facts, "preferred": preferred, "against_scratch": pairs}
    (HERE / "methods.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    for run in facts:
        print(f"{run['student']:28} {run['method']:8} {run['seed']} top-1 {run['top1']['value']:.4f}")


if __name__ == "__main__":
    main()
