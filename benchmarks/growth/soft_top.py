"""How far truncated soft labels (distill.soft_labels.top) are from complete ones, on CIFAR-100.

    python benchmarks/growth/soft_top.py --data CIFAR100 [--work FOLDER]

A teacher trains for 3 epochs on 10,000 images; the stage soft_labels stores its rows complete and truncated.
Both are read as a training reads them, calibrated by a temperature and by a vector that were fitted to 2,000
other images: the mean Kullback-Leibler divergence of the truncated rows' probabilities from the complete
ones', at temperatures 1 and 4, and how far the tail's probability is off. Beside them: a tail of equal
logits whose log-sum-exp is that of a normal tail at the temperature. A folder that is given keeps what was
computed, and a second run continues there. Writes its result beside itself.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from calkd_edge.calibration.temperature import temperature
from calkd_edge.calibration.vector import vector
from calkd_edge.data.cifar import Cifar100
from calkd_edge.data.prepared import Prepared
from calkd_edge.engine.stage import Job
from calkd_edge.metrics.per_image import log_softmax
from calkd_edge.records import Affine, FloatArray
from calkd_edge.stages import prepare, soft_labels, teacher
from calkd_edge.stages.distillation import SoftLabels
from calkd_edge.stages.frozen_teacher import frozen_teacher
from calkd_edge.stages.top_logits import bytes_per_row

TOPS, TEMPERATURES = (8, 16, 32), (1.0, 4.0)
IMAGES, CALIBRATION, EPOCHS = 10_000, 2_000, 3
AUGMENTATION = {"name": "crop_pad", "settings": {"padding": 4}}
ON_CPU = {"accelerator": "cpu", "cache": "disk"}
RESULT = Path(__file__).with_suffix(".json")


def finished(work: Path, name: str, stage: Any, params: dict[str, Any], **inputs: Path) -> Path:
    """The folder of a stage, which runs if it has not been finished."""
    out, scratch, done = work / name, work / f"{name}-scratch", work / f"{name}.done"
    if not done.is_file():
        for folder in (out, scratch):
            folder.mkdir(parents=True, exist_ok=True)
        locations = {"weights": None, "pretrained": None, **ON_CPU, **params.pop("locations", {})}
        stage.run(Job(params, locations, inputs, out, scratch, lambda count, total: None))
        done.touch()
        print(name, flush=True)
    return out


def data_folder(work: Path, root: Path) -> Path:
    """CIFAR-100, prepared."""
    splits = {
        "seed": 1,
        "calibration_images": CALIBRATION,
        "train_images": IMAGES,
        "test_images": 100,
        "drop_duplicates": False,
        "broken": "refuse",
    }
    params = {"dataset": "cifar100", "settings": {}, "identity": Cifar100(root).identity(), "splits": splits}
    return finished(work, "data", prepare, {**params, "locations": {"root": str(root)}})


def teacher_folder(work: Path, data: Path) -> Path:
    """A ResNet-20 after a few epochs."""
    training = {
        "epochs": EPOCHS,
        "images_per_step": 128,
        "optimizer": {"lr": 0.1, "nesterov": True},
        "schedule": {"name": "one_cycle"},
    }
    params = {
        "model": {"name": "resnet20", "settings": {}},
        "training": training,
        "augmentation": AUGMENTATION,
        "mixing": None,
        "seed": 1,
        "freeze_epochs": 0,
        **dict.fromkeys(("weights_sha256", "pretrained", "trained_on", "mean", "std")),
    }
    return finished(work, "teacher", teacher, params, data=data)


def labels_folder(work: Path, data: Path, taught: Path, top: int | None) -> Path:
    """One view of the training images."""
    params = {"views": 1, "images_per_step": 256, "augmentation": AUGMENTATION, "seed": 1, "top": top}
    return finished(work, f"labels-{top}", soft_labels, params, data=data, teacher=taught)


def calibrations(data: Path, taught: Path) -> tuple[dict[str, Affine], float]:
    """Maps fitted to the teacher's logits of the calibration images, and its top-1 there."""
    prepared = Prepared.open(data)
    images, labels, _ = prepared.arrays("calibration")
    model = frozen_teacher(taught, torch.device("cpu"))
    with torch.no_grad():
        rows = [model(torch.from_numpy(images[at : at + 250])).numpy() for at in range(0, len(images), 250)]
    logits = np.concatenate(rows)
    maps = {fit.__name__: fit(logits, labels, prepared.classes).affine for fit in (temperature, vector)}
    return maps, float((logits.argmax(1) == labels).mean())


def divergence(complete: FloatArray, other: FloatArray, at: float) -> float:
    """Mean KL(complete || other) in nats, of the softmax at a temperature."""
    first, second = log_softmax(complete / at), log_softmax(other / at)
    return float((np.exp(first) * (first - second)).sum(1).mean())


def tail_share(rows: FloatArray, is_tail: np.ndarray, at: float) -> FloatArray:
    """The tail's probability in each row."""
    share: FloatArray = (np.exp(log_softmax(rows / at)) * is_tail).sum(1)
    return share


def even_tail(complete: FloatArray, is_tail: np.ndarray, at: float) -> FloatArray:
    """The rows with equal logits in the tail: of a normal tail's log-sum-exp at a temperature."""
    tails = complete[is_tail].reshape(len(complete), -1)
    values = tails.mean(1) + tails.var(1) / (2 * at)
    return np.where(is_tail, values[:, None], complete)


def compared(complete: FloatArray, restored: FloatArray, classes: np.ndarray) -> dict[str, Any]:
    """The figures of one K and one calibration, by temperature."""
    is_tail = np.ones(complete.shape, dtype=bool)
    np.put_along_axis(is_tail, classes.astype(np.int64), False, axis=1)
    result = {}
    for at in TEMPERATURES:
        share, ours = tail_share(complete, is_tail, at), tail_share(restored, is_tail, at)
        even = {f"even_for_{other:g}": even_tail(complete, is_tail, other) for other in TEMPERATURES}
        result[f"temperature {at:g}"] = {
            "kl": divergence(complete, restored, at),
            "tail_probability": float(share.mean()),
            "tail_probability_error": float(np.abs(ours - share).mean()),
            **{
                name: {
                    "kl": divergence(complete, rows, at),
                    "tail_probability_error": float(np.abs(tail_share(rows, is_tail, at) - share).mean()),
                }
                for name, rows in even.items()
            },
        }
    return result


def main(root: Path, work: Path) -> None:
    """Every K under both calibrations."""
    data = data_folder(work, root)
    taught = teacher_folder(work, data)
    whole = labels_folder(work, data, taught, None)
    (maps, top1), everything = calibrations(data, taught), np.arange(IMAGES)
    classes = len(Prepared.open(data).classes)
    result: dict[str, Any] = {
        "images": IMAGES,
        "classes": classes,
        "teacher": f"resnet20 after {EPOCHS} epochs",
        "teacher_top1": top1,
        "bytes_of_a_complete_row": bytes_per_row(classes, None),
        "kl_of_equal_probabilities": {},
        "top": {},
    }
    for top in TOPS:
        folder = labels_folder(work, data, taught, top)
        figures: dict[str, Any] = {"bytes_of_a_row": bytes_per_row(classes, top)}
        for name, affine in maps.items():
            complete, restored = (
                affine.apply(SoftLabels.open(place, affine).raw(0, everything)) for place in (whole, folder)
            )
            result["kl_of_equal_probabilities"][name] = {
                f"temperature {at:g}": divergence(complete, np.zeros_like(complete), at)
                for at in TEMPERATURES
            }
            stored = np.load(folder / "classes.npy")[0]
            figures[name] = compared(complete, restored, stored)
        result["top"][top] = figures
        print(top, figures, flush=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of CIFAR-100")
    parser.add_argument("--work", type=Path, help="keeps what was computed; a temporary folder by default")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soft-top-") as temporary:
        main(chosen.data, chosen.work or Path(temporary))
