"""Is a student as good as its data allow? Beside a plain script, and beside itself without a teacher.

For each set of images and each of three seeds (five for the quickstart, whose seeds differ more; eight on the
hands, where three left an interval of seven points): the packaged recipe as users run it (its teacher,
calibrated, its student by distillation, int8 after calibration), the same student from labels alone
(distill.baseline), and plain.py with the same network, student epochs, images and test images. The teacher of
a set is one.

    PYTHONPATH=benchmarks/distillation python benchmarks/students/students.py --store DIR --data DIR

`--data` holds sign_digits/ and trash/ (class folders) and cifar100/. Results are kept run by run in
students.json, which a script that was cut goes on with.
"""

from __future__ import annotations

import argparse
import base64
import json
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import plain
from scipy import stats
from study import Study, Wanted, figures, folder_of, packaged, right, top1_difference

from calkd_edge.data.prepared import Prepared
from calkd_edge.metrics.per_image import top1
from calkd_edge.records import Predictions

SEEDS = (17, 18, 19, 20, 21, 22, 23, 24)
OTHERS = {
    "int8": "predict-student-int8@local",
    "labels alone": "predict-baseline-fp32@local",
    "teacher": "predict-teacher-fp32@local",
}


@dataclass(frozen=True)
class Images:
    """A set of images: the recipe for it, what is changed there, whether the plain script mirrors, seeds."""

    recipe: str
    change: Callable[[dict[str, Any], Path], None]
    flip: bool
    seeds: tuple[int, ...] = SEEDS[:3]


def _folder(name: str) -> Callable[[dict[str, Any], Path], None]:
    def change(recipe: dict[str, Any], data: Path) -> None:
        recipe["data"] |= {"root": str(data / name), "image_size": 96, "calibration_images": 300}
        recipe["teacher_training"]["epochs"] = recipe["distill"]["epochs"] = 15
        for section in ("teacher_training", "distill"):
            recipe[section]["schedule"]["warmup_epochs"] = 2

    return change


def _cifar(recipe: dict[str, Any], data: Path) -> None:
    recipe["data"] |= {"root": str(data / "cifar100"), "train_images": 2000}
    recipe["distill"]["losses"] = packaged("own_images", None)["distill"]["losses"]  # those for few images


def _as_it_is(recipe: dict[str, Any], data: Path) -> None:
    del recipe, data


SETS = {
    "sign_digits": Images("own_images", _folder("sign_digits"), flip=False, seeds=SEEDS),
    "trash": Images("own_images", _folder("trash"), flip=True),
    "cifar100_2000": Images("mobilenet_cifar100_short", _cifar, flip=True),
    "fashion_mnist_small": Images("quickstart", _as_it_is, flip=True, seeds=SEEDS[:5]),
}


def wanted(name: str, seed: int, data: Path) -> Wanted:
    """One student of a set."""
    chosen = SETS[name]
    recipe = packaged(chosen.recipe, None)
    chosen.change(recipe, data)
    recipe["distill"] |= {"seed": seed, "baseline": True}
    recipe["precisions"] = [{"name": "fp32"}, {"name": "int8", "ranges": "percentile", "images": 512}]
    recipe |= {"name": name, "evaluate": {"corruptions": []}}
    return Wanted(f"{name}-{seed}", {"set": name, "seed": seed}, recipe)


def packed(answers: np.ndarray) -> dict[str, Any]:
    """Which answers are right, one bit each, as `study.right` reads them."""
    return {
        "top1": {"value": float(answers.mean())},
        "right": base64.b64encode(np.packbits(answers).tobytes()).decode(),
        "test_images": len(answers),
    }


def with_others(store: Path, out: Path) -> dict[str, Any]:
    """The student's row, and the rows of what it is compared with."""
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    row = figures(store, out)
    for name, stage in OTHERS.items():
        found = Predictions.load(folder_of(store, report, stage) / "test.npz")
        row[name] = packed(top1(found.logits) == found.labels)
    row["last_epoch"] = report["models"]["student"]["last_epoch"]
    return row


def plain_row(
    name: str, seed: int, epochs: int, store: Path, out: Path, student: Mapping[str, Any]
) -> dict[str, Any]:
    """What plain.py comes to on the images of a finished run."""
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    prepared = Prepared.open(folder_of(store, report, "prepare"))
    settings = {
        key: value for key, value in student.items() if key not in ("name", "pretrained", "freeze_epochs")
    }
    begun = time.monotonic()
    net = plain.network(str(student["name"]), settings, prepared)
    answers = plain.train(net, prepared, epochs=epochs, seed=seed, flip=SETS[name].flip)
    return {**packed(answers), "seconds": round(time.monotonic() - begun, 1)}


def over_seeds(rows: list[Mapping[str, Any]], other: str) -> dict[str, Any]:
    """The student less another: mean over seeds, Student's 90 % interval, each seed's paired interval."""
    each = [top1_difference(row, row[other]) for row in rows]
    values = [pair["value"] for pair in each]
    mean = statistics.mean(values)
    reach = 0.0
    if len(values) > 1:
        reach = float(stats.t.ppf(0.95, len(values) - 1)) * statistics.stdev(values) / len(values) ** 0.5
    return {"mean": mean, "low": mean - reach, "high": mean + reach, "each": each}


def main() -> None:
    """Bring every set that is asked for, and compare."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--only", choices=sorted(SETS), action="append")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    options = parser.parse_args()
    study = Study(options.store, Path(__file__).with_suffix(".json"), options.jobs, with_others)
    told: dict[str, Any] = {}
    for name in SETS:
        runs = [wanted(name, seed, options.data) for seed in SETS[name].seeds]
        if name not in (options.only or SETS) and any(run.name not in study.rows for run in runs):
            continue
        rows = []
        brought = study.bring(runs)
        for run in runs:
            row = brought[run.name]
            if "plain" not in row:
                out, epochs = study.folder(run), run.recipe["distill"]["epochs"]
                row["plain"] = plain_row(
                    name, run.facts["seed"], epochs, options.store, out, run.recipe["student"]
                )
                study.write()
            rows.append(row)
            tops = {other: round(row[other]["top1"]["value"], 4) for other in (*OTHERS, "plain")}
            print(f"{run.name:28} student {right(row).mean():.4f} {tops}", flush=True)
        told[name] = {
            f"student less {other}": over_seeds(rows, other) for other in ("plain", "labels alone", "int8")
        }
        int8 = [{**row, **row["int8"]} for row in rows]
        told[name] |= {f"int8 less {other}": over_seeds(int8, other) for other in ("plain", "labels alone")}
    study.write(differences=told)


if __name__ == "__main__":
    main()
