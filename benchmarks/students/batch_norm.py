"""What measuring batch normalisation after the last epoch brings, by network, images and number of steps.

Networks are trained on labels alone as teachers of a small student, on class folders at 96 px (resized crops)
and on CIFAR-100 (crops of padded images); histories hold the NLL on calibration images with the running
statistics, with those of plain images and with those of images as they were learnt.

    PYTHONPATH=benchmarks/distillation python benchmarks/students/batch_norm.py --store DIR --folder DIR
        [--cifar100 DIR]
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


def on_cifar100(network: str, root: str | None) -> Wanted:
    """One training of 8 epochs on 20,000 images of CIFAR-100."""
    recipe = packaged("mobilenet_cifar100_short", root)
    recipe["data"] |= {"train_images": 20_000, "calibration_images": 5_000}
    recipe["teacher"] = NETWORKS[network]
    recipe["teacher_training"] |= {"epochs": 8}
    recipe["student"] = {"name": "resnet8", "width": 0.25}
    recipe["distill"] |= {"epochs": 1, "schedule": {"name": "constant"}, "soft_labels": {"views": 1}}
    recipe |= {"name": "batch_norm", "evaluate": {"corruptions": []}}
    return Wanted(f"{network}-cifar100", {"network": network, "epochs": 8}, recipe)


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
    parser.add_argument("--cifar100", default=None, help="holds CIFAR-100; downloaded when left out")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    options = parser.parse_args()
    study = Study(options.store, Path(__file__).with_suffix(".json"), options.jobs, last_epoch)
    runs = [wanted(network, epochs, options.folder) for network in NETWORKS for epochs in EPOCHS]
    runs += [on_cifar100(network, options.cifar100) for network in NETWORKS if network != "ResNet-18"]
    rows = study.bring(runs)
    table = {
        name: {
            "steps": row["steps"],
            **{name: row[f"batch_norm_nll_{name}"] for name in ("running", "plain", "as_learnt")},
            "from": row["batch_norm_from"],
            "top1_gain": row["calibration_top1"] - row["running_calibration_top1"],
        }
        for name, row in rows.items()
    }
    study.write(nll=table)


if __name__ == "__main__":
    main()
