"""Peak anonymous memory (RssAnon) of a folder of images -> soft labels -> 200 distillation steps.

    python memory_driver.py IMAGES FOLDER

Makes IMAGES synthetic JPEG images of 224x224 pixels in class folders below FOLDER where they are not there
yet, then runs the stages prepare, soft_labels (one view) and distill in this process, with MobileNetV3-small
as teacher and student. Prints one JSON line with the peak of each stage in MiB.
"""

from __future__ import annotations

import json
import shutil
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from calkd_edge.data.image_folder import ImageFolder
from calkd_edge.data.prepared import Prepared
from calkd_edge.engine.stage import Job
from calkd_edge.models import image_model
from calkd_edge.records import Calibration, Component
from calkd_edge.stages import distill, prepare, soft_labels
from calkd_edge.stages.epochs import description_of

CLASSES, SIZE, STEPS = 10, 224, 200
NET = {"name": "mobilenet_v3_small", "settings": {}}
AUGMENTATION = {"name": "resized_crop", "settings": {}}
LOSSES = [{"name": "kd", "weight": 1.0, "settings": {"temperature": 4.0}}]
TRAINING = {"epochs": 1, "images_per_step": 16, "optimizer": {"lr": 0.01}}
ACCELERATOR = {"accelerator": "cpu", "cache": "disk"}


class Enough(Exception):
    """As many steps as were asked for."""


class Peak:
    """The highest RssAnon of this process since it was last asked for, looked at fifty times a second."""

    def __init__(self) -> None:
        self.highest = 0.0
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while True:
            self.highest = max(self.highest, anonymous_mib())
            time.sleep(0.02)

    def taken(self) -> int:
        """MiB, and begin anew."""
        highest, self.highest = max(self.highest, anonymous_mib()), 0.0
        return round(highest)


def anonymous_mib() -> float:
    """RssAnon of this process, MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024


def make_image(folder: Path, number: int) -> None:
    """A JPEG that no other number has: coarse noise over a colour of its class."""
    label = number % CLASSES
    path = folder / f"class_{label}" / f"{number}.jpg"
    if path.is_file():
        return
    draw = np.random.default_rng(number)
    coarse = np.clip(draw.normal(25 * label, 40, (8, 8, 3)), 0, 255).astype(np.uint8)
    whole = path.with_suffix(".part")
    Image.fromarray(coarse).resize((SIZE, SIZE), Image.Resampling.BILINEAR).save(whole, "JPEG", quality=85)
    whole.replace(path)


def make_images(folder: Path, count: int) -> None:
    """All of them, on every core."""
    for label in range(CLASSES):
        (folder / f"class_{label}").mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor() as pool:
        for _ in pool.map(partial(make_image, folder), range(count), chunksize=500):
            pass


def job(folder: Path, name: str, params: dict[str, Any], places: dict[str, Any], **inputs: Path) -> Job:
    """A stage's job with empty folders of its own."""
    out, scratch = folder / name, folder / f"{name}-scratch"
    for place in (out, scratch):
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
    return Job(params, places, inputs, out, scratch, lambda done, total: None)


def stop_after(steps: int) -> Callable[[int, int], None]:
    """Progress that ends a training after so many steps."""

    def progress(done: int, total: int) -> None:
        if done >= steps:
            raise Enough

    return progress


def main(count: int, folder: Path) -> None:
    """Run the stages, each one's peak noted."""
    folder.mkdir(parents=True, exist_ok=True)
    make_images(folder / "images", count)
    peak, found = Peak(), {}
    splits = {
        "seed": 1,
        "calibration_images": 1000,
        "train_images": None,
        "test_images": 1000,
        "drop_duplicates": False,
        "broken": "refuse",
    }
    params = {
        "dataset": "image_folder",
        "settings": {"image_size": SIZE},
        "identity": ImageFolder(folder / "images", image_size=SIZE).identity(),
        "splits": splits,
    }
    preparing = job(folder, "data", params, {"root": str(folder / "images")})
    prepare.run(preparing)
    found["prepare"] = peak.taken()

    prepared = Prepared.open(preparing.out)
    (folder / "teacher").mkdir(exist_ok=True)
    description = description_of(Component.model_validate(NET), prepared, "other")
    image_model.save(image_model.build(description), description, folder / "teacher")
    params = {"views": 1, "images_per_step": 64, "augmentation": AUGMENTATION, "seed": 1}
    inputs = {"data": preparing.out, "teacher": folder / "teacher"}
    asking = job(folder, "soft-labels", params, ACCELERATOR, **inputs)
    soft_labels.run(asking)
    found["soft_labels"] = peak.taken()

    (folder / "calibration").mkdir(exist_ok=True)
    told = Calibration(
        method="constant",
        scale=(1.0,),
        bias=(0.0,),
        temperature=1.0,
        se=None,
        status="constant",
        split="calibration",
        images=1000,
        nll_before=0.0,
        nll_after=0.0,
    )
    (folder / "calibration" / "calibration.json").write_text(told.model_dump_json())
    params = {
        "model": NET,
        "training": TRAINING,
        "losses": LOSSES,
        "augmentation": AUGMENTATION,
        "mixing": None,
        "teacher_mode": "stored",
        "seed": 1,
        "weights_sha256": None,
        "pretrained": None,
        "freeze_epochs": 0,
        "trained_on": None,
        "mean": None,
        "std": None,
    }
    inputs |= {"calibration": folder / "calibration", "soft_labels": asking.out}
    places = {**ACCELERATOR, "weights": None, "pretrained": None}
    learning = job(folder, "student", params, places, **inputs)
    try:
        distill.run(Job(**{**vars(learning), "progress": stop_after(STEPS)}))
    except Enough:
        found["distill"] = peak.taken()
    print(json.dumps({"images": count, "train_images": len(prepared.indices("train")), "peak_mib": found}))


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
