"""How many stored views of each image a student needs: against the teacher asked live in each step.

The packaged MobileNetV2 short recipe on 2,000 images of CIFAR-100 for 60 epochs, with 1, 4, 15 and 60 stored
views (so that each is seen 60, 15, 4 and 1 times) and with the teacher live; three seeds of the student each.
The teacher is a file: the one that methods.py trains, say. Differences are of students with the same seed, on
the same test images.

    python benchmarks/distillation/views.py --store DIR --root CIFAR100_DIR --teacher weights.safetensors
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from methods import LOSSES
from scipy import stats
from study import Study, Wanted, packaged, top1_difference

VIEWS = (1, 4, 15, 60)
SEEDS = (17, 18, 19)
EPOCHS, IMAGES = 60, 2000
LIVE = "live"


def wanted(views: int | str, seed: int, options: argparse.Namespace) -> Wanted:
    """One student."""
    soft_labels = {"live": True} if views == LIVE else {"views": views}
    changes = {"epochs": EPOCHS, "seed": seed, "soft_labels": soft_labels, "losses": LOSSES["kd"]}
    recipe = packaged("mobilenet_cifar100_short", options.root, **changes)
    recipe["data"]["train_images"] = IMAGES
    del recipe["teacher_training"]
    recipe["teacher"] |= {"weights": str(options.teacher), "trained_on": "train"}
    recipe |= {"name": "views"}
    return Wanted(f"{views}-{seed}", {"views": views, "seed": seed}, recipe)


def mean_and_interval(values: Sequence[float]) -> dict[str, Any]:
    """Over seeds, with Student's 90 % interval: what another seed would change is in it."""
    mean, error = statistics.mean(values), statistics.stdev(values) / len(values) ** 0.5
    reach = float(stats.t.ppf(0.95, len(values) - 1)) * error
    return {"mean": mean, "low": mean - reach, "high": mean + reach, "each": list(values)}


def main() -> None:
    """Every number of views and seed, then their differences from the live teacher's students."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--root", default=None, help="holds CIFAR-100; downloaded when left out")
    parser.add_argument("--teacher", type=Path, required=True, help="weights of a resnet8x4 for 100 classes")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    options = parser.parse_args()
    study = Study(options.store, Path(__file__).with_suffix(".json"), options.jobs)
    asked = {(views, seed): wanted(views, seed, options) for seed in SEEDS for views in (LIVE, *VIEWS)}
    found = study.bring(asked.values())
    rows = {key: found[run.name] for key, run in asked.items()}
    less_live = {}
    for views in VIEWS:
        pairs = [(rows[views, seed], rows[LIVE, seed]) for seed in SEEDS]
        less_live[f"{views} views, each seen {EPOCHS // views} times"] = {
            "nll": mean_and_interval([row["nll"]["value"] - live["nll"]["value"] for row, live in pairs]),
            "top1": mean_and_interval([row["top1"]["value"] - live["top1"]["value"] for row, live in pairs]),
            "top1_of_each_pair": [top1_difference(row, live) for row, live in pairs],
        }
    study.write(stored_less_live=less_live)


if __name__ == "__main__":
    main()
