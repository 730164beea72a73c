"""What measuring batch normalisation after the last epoch brings, by network and number of steps.

Networks are trained on labels alone as teachers of a small student, on class folders at 96 px; histories
hold the calibration split's figures with the running statistics and with the measured ones.

    PYTHONPATH=benchmarks/distillation python benchmarks/students/batch_norm.py --store DIR --folder DIR
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from study import Study, Wanted, packaged

NETWORKS: dict[str, dict[str, Any]] = {
    "MobileNetV3-small": {"name": "mobilenet_v3_small", "width": 1.0},
    "MobileNetV2 x0.5": {"name": "mobilenet_v2", "width": 0.5},
    "ShuffleNetV2 x0.5": {"name": "shufflenet_v2", "width": 0.5},
    "ResNet-18": {"name": "torchvision", "architecture": "resnet18"},
}
EPOCHS = (2, 5, 15)


def wanted(network: str, epochs: int, folder: Path) -> Wanted:
    """One training."""
    recipe = packaged("own_images", str(folder))
    recipe["data"] |= {"image_size": 96, "calibration_images": 300}
    recipe["teacher"] = NETWORKS[network]
    recipe["teacher_training"] |= {"epochs": epochs}
    recipe["teacher_training"]["schedule"] = {"name": "one_cycle"}
    recipe["student"] = {"name": "resnet8", "width": 0.25}
    recipe["distill"] |= {"epochs": 1, "schedule": {"name": "constant"}, "soft_labels": {"views": 1}}
    recipe |= {"name": "batch_norm", "evaluate": {"corruptions": []}}
    return Wanted(f"{network}-{epochs}", {"network": network, "epochs": epochs}, recipe)


def last_epoch(store: Path, out: Path) -> dict[str, Any]:
    """The last line of the teacher's history."""
    del store
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    last: dict[str, Any] = report["models"]["teacher"]["last_epoch"]
    return {**last, "top1": {"value": last["calibration_top1"]}, "nll": {"value": last["calibration_nll"]}}


def main() -> None:
    """Every network and number of epochs; the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    options = parser.parse_args()
    study = Study(options.store, Path(__file__).with_suffix(".json"), options.jobs, last_epoch)
    runs = [wanted(network, epochs, options.folder) for network in NETWORKS for epochs in EPOCHS]
    rows = study.bring(runs)
    table = {
        name: {
            "steps": row["steps"],
            "top1_gain": row["calibration_top1"] - row["running_calibration_top1"],
            "nll_gain": row["running_calibration_nll"] - row["calibration_nll"],
            "mean_shift": row["batch_norm_mean_shift"],
            "variance_ratio": row["batch_norm_variance_ratio"],
        }
        for name, row in rows.items()
    }
    study.write(gain=table)


if __name__ == "__main__":
    main()
