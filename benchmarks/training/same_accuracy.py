"""Whether students of our CPU step are as accurate as those of torch's own: they differ by rounding alone.

The same recipe (10,000 images of CIFAR-100, 6 epochs, labels alone) by `compress` as it ships, and with
torch's own convolutions and batch normalisation in the loop; three seeds, figures of 10,000 test images.
Writes its result beside itself as runs end, and skips those that are in it.

    python benchmarks/training/same_accuracy.py --work DIR --root CIFAR100_DIR [--jobs 2]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from scipy.stats import t
from step import cpu_name

from calkd_edge.__main__ import main as main_of_command
from calkd_edge.models import MODELS
from calkd_edge.training import loop

STUDENTS: dict[str, dict[str, Any]] = {
    "MobileNetV2 x0.5": {"name": "mobilenet_v2", "width": 0.5},
    "ShuffleNetV2 x0.5": {"name": "shufflenet_v2", "width": 0.5},
}
WAYS, SEEDS = ("ours", "torch"), (1, 2, 3)
RESULT = Path(__file__).with_suffix(".json")


def recipe(student: str, seed: int, work: Path, root: str | None) -> dict[str, Any]:
    """A student from labels alone; the teacher is there because a recipe names one."""
    return {
        "version": 1,
        "name": "same_accuracy",
        "seed": seed,
        "data": {"name": "cifar100", "root": root, "train_images": 10_000, "calibration_images": 1000},
        "teacher": {"name": "resnet8", "weights": str(work / "teacher.pth"), "trained_on": "other"},
        "student": STUDENTS[student],
        "distill": {
            "epochs": 6,
            "optimizer": {"lr": 0.05, "momentum": 0.9, "weight_decay": 5e-4},
            "schedule": {"name": "cosine", "warmup_epochs": 1},
            "losses": [{"name": "cross_entropy", "weight": 1.0}],
        },
        "precisions": [{"name": "fp32"}],
        "evaluate": {"corruptions": []},
        "gates": [],
    }


def compress_with_torchs_step(arguments: list[str]) -> int:
    """The command, in this process, with the loop's own kernels left out."""
    loop.quick_convolutions = lambda module: nullcontext()  # type: ignore[assignment,misc]
    loop.fused_batch_norm = lambda module: nullcontext()  # type: ignore[assignment,misc]
    sys.argv[1:] = arguments
    return main_of_command()


def run(student: str, way: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """One student's figures on the test images."""
    work = options.work / f"{STUDENTS[student]['name']}-{way}-{seed}"
    work.mkdir(parents=True, exist_ok=True)
    (work / "recipe.yaml").write_text(yaml.safe_dump(recipe(student, seed, options.work, options.root)))
    command = ["compress", "--recipe", str(work / "recipe.yaml"), "--accelerator", "cpu"]
    command += ["--store", str(options.work / f"store-{way}"), "--out", str(work / "out")]
    started_by = [__file__, "--with-torchs-step"] if way == "torch" else ["-m", "calkd_edge"]
    threads = str(max(1, (os.cpu_count() or 1) // options.jobs))
    with (work / "output.txt").open("w", encoding="utf-8") as log:
        environment = {**os.environ, "OMP_NUM_THREADS": threads}
        done = subprocess.run(
            [sys.executable, *started_by, *command], stdout=log, stderr=log, check=False, env=environment
        )
    if done.returncode not in (0, 3, 4):  # measured, whatever the gates say
        raise RuntimeError(f"ended with {done.returncode}: see {log.name}")
    report = json.loads((work / "out" / "report.json").read_text(encoding="utf-8"))
    quality = next(
        row["quality"] for row in report["measurements"] if row["model"] == "student" and row["calibrated"]
    )
    return {
        **{"student": student, "step": way, "seed": seed},
        **{name: quality[name]["value"] for name in ("top1", "nll", "ece")},
    }


def differences(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Ours less torch's over all students and seeds, paired, with Student's 95 % interval."""
    found = {}
    for name in ("top1", "nll", "ece"):
        value = {(row["student"], row["seed"], row["step"]): row[name] for row in rows}
        both = [key for key in value if key[2] == "ours" and (*key[:2], "torch") in value]
        gaps = np.array([value[key] - value[(*key[:2], "torch")] for key in both])
        if len(gaps) > 1:
            half = float(t.ppf(0.975, len(gaps) - 1) * gaps.std(ddof=1) / len(gaps) ** 0.5)
            mean = float(gaps.mean())
            found[name] = {"mean": mean, "low": mean - half, "high": mean + half, "pairs": len(gaps)}
    return found


def main() -> None:
    """Every student, way and seed; results are written as they come."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", type=Path, required=True, help="for stores and runs")
    parser.add_argument("--root", default=None, help="holds CIFAR-100; downloaded when left out")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time; the cores are shared out")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    torch.save(MODELS.load("resnet8")(100, (3, 32, 32)).state_dict(), options.work / "teacher.pth")
    rows = json.loads(RESULT.read_text(encoding="utf-8"))["runs"] if RESULT.is_file() else []
    done = {(row["student"], row["step"], row["seed"]) for row in rows}
    wanted = [(student, way, seed) for seed in SEEDS for student in STUDENTS for way in WAYS]
    missing = [one for one in wanted if one not in done]
    with ThreadPoolExecutor(options.jobs) as pool:
        for row in pool.map(lambda one: run(*one, options), missing):
            rows.append(row)
            print(row, flush=True)
            told = {"cpu": cpu_name(), "torch": torch.__version__}
            told |= {"ours_less_torchs": differences(rows), "runs": rows}
            RESULT.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--with-torchs-step"]:
        sys.exit(compress_with_torchs_step(sys.argv[2:]))
    main()
