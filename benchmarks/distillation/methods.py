"""Students from scratch, by KD and by other losses, from one teacher, on a part of CIFAR-100.

The packaged short recipes with the losses exchanged and the student drawn from two seeds. Which loss is
"preferred" is decided by the calibration split of the first seed (NLL after calibration); the test split only
reports. Some hours on two cores; what is finished is not done again.

    python benchmarks/distillation/methods.py --store DIR --root CIFAR100_DIR --jobs 2
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from study import Study, Wanted, packaged, top1_difference

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


def wanted(student: str, method: str, seed: int, root: str | None) -> Wanted:
    """One training of one student."""
    facts = {"student": student, "method": method, "seed": seed}
    recipe = packaged(student, root, losses=LOSSES[method], seed=seed)
    return Wanted(f"{student}-{method}-{seed}", facts, recipe)


def main() -> None:
    """Every student, method and seed, then what they came to."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--root", default=None, help="holds CIFAR-100; downloaded when left out")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    options = parser.parse_args()
    study = Study(options.store, Path(__file__).with_suffix(".json"), options.jobs)
    first, second = SEEDS
    preferred, gains = {}, []
    for student in STUDENTS:
        asked = {(method, first): wanted(student, method, first, options.root) for method in LOSSES}
        found = study.bring(asked.values())
        best = min(CANDIDATES, key=lambda one: found[asked[one, first].name]["calibration_split_nll"])
        preferred[student] = best
        methods = ("scratch", "kd", best)
        asked |= {(method, second): wanted(student, method, second, options.root) for method in methods}
        found = study.bring(asked.values())
        gains += [
            {
                "student": student,
                "method": method,
                "seed": seed,
                "top1": top1_difference(found[asked[method, seed].name], found[asked["scratch", seed].name]),
            }
            for method in ("kd", best)
            for seed in SEEDS
        ]
    study.write(preferred=preferred, gains_over_scratch=gains)


if __name__ == "__main__":
    main()
