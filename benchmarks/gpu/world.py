"""What every section of the self-check uses: random images, networks, trainings by the project's own code.

Nothing is read from a disk or a network; the prepared folder and the teacher's are written by this file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from calkd_edge.data.prepared import Prepared
from calkd_edge.engine.stage import Job
from calkd_edge.models import image_model
from calkd_edge.records import Component
from calkd_edge.stages import soft_labels
from calkd_edge.stages.epochs import description_of
from calkd_edge.stages.params import SoftLabelsParams

SEED, VIEWS = 17, 2
MOST_PIXELS = 2048 * 224**2
"""Of all images together: fewer large ones."""


@dataclass(frozen=True)
class Size:
    """How much a section does: completely on a GPU, reduced on a CPU."""

    images: int
    classes: int
    networks: dict[str, Component]
    sides: dict[str, int]
    teacher: Component
    images_per_step: int
    steps: int
    timed_steps: int
    warm_steps: int
    rounds: int


def component(name: str, **settings: object) -> Component:
    """A network of the registry."""
    return Component(name=name, settings=settings)


COMPLETE = Size(
    images=8192,
    classes=100,
    networks={
        "N1": component("mobilenet_v2", width=0.5, divisor=1),
        "N2": component("shufflenet_v2"),
        "N3": component("mobilenet_v3_small"),
    },
    sides={"N1": 32, "N2": 32, "N3": 224},
    teacher=component("resnet56"),
    images_per_step=64,
    steps=20,
    timed_steps=100,
    warm_steps=30,
    rounds=3,
)
REDUCED = Size(
    images=96,
    classes=10,
    networks={"N1": component("mobilenet_v2", width=0.25, divisor=1)},
    sides={"N1": 32},
    teacher=component("resnet8", width=0.5),
    images_per_step=16,
    steps=4,
    timed_steps=3,
    warm_steps=1,
    rounds=1,
)


@dataclass(frozen=True)
class World:
    """Where a section computes, how much of it, and a folder of its own."""

    device: torch.device
    size: Size
    folder: Path

    @property
    def on_gpu(self) -> bool:
        """Whether the device is a GPU."""
        return self.device.type == "cuda"

    @property
    def accelerator(self) -> str:
        """The device as the project's option names it."""
        return self.device.type

    def synchronize(self) -> None:
        """Wait for the GPU."""
        if self.on_gpu:
            torch.cuda.synchronize(self.device)

    def reduced_to(self, images: int) -> World:
        """The same with fewer images."""
        return replace(self, size=replace(self.size, images=images))

    def prepared(self, side: int = 32) -> Prepared:
        """Random images of a square size, as the stage `prepare` writes them."""
        images = min(self.size.images, MOST_PIXELS // side**2)
        folder = self.folder / f"data-{side}-{images}"
        if not (folder / "splits.json").is_file():
            _write_prepared(folder, images, self.size.classes, side)
        return Prepared.open(folder)

    def teacher_folder(self, side: int = 32) -> Path:
        """An untrained teacher, as its stage writes it."""
        folder = self.folder / f"teacher-{side}"
        if not folder.is_dir():
            folder.mkdir()
            torch.manual_seed(1)
            description = description_of(self.size.teacher, self.prepared(side), "train")
            image_model.save(image_model.build(description), description, folder)
        return folder

    def student(self, network: str) -> image_model.ImageModel:
        """An untrained student, the same in each call."""
        torch.manual_seed(0)
        prepared = self.prepared(self.size.sides[network])
        return image_model.build(description_of(self.size.networks[network], prepared, "train"))

    def soft_labels(self, side: int = 32, *, name: str = "labels", accelerator: str = "") -> Path:
        """The folder of the stage soft_labels, run if it is not there."""
        out = self.folder / f"{name}-{side}-{self.size.images}"
        if not (out / "views.npz").is_file():
            self.soft_labels_job(out, side, accelerator or self.accelerator)()
        return out

    def soft_labels_job(
        self,
        out: Path,
        side: int,
        accelerator: str,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> Callable[[], None]:
        """The stage soft_labels, ready to run."""
        scratch = out.with_name(f"{out.name}-scratch")
        scratch.mkdir(exist_ok=True)
        out.mkdir(exist_ok=True)
        params = SoftLabelsParams(
            views=VIEWS, images_per_step=256, augmentation=augmentation(side), seed=SEED
        )
        inputs = {"data": self.prepared(side).folder, "teacher": self.teacher_folder(side)}
        locations = {"accelerator": accelerator, "cache": "disk"}
        return partial(soft_labels.run, Job(params.plain(), locations, inputs, out, scratch, progress))


def augmentation(side: int) -> Component:
    """The recipes' own: crop_pad for small images, resized_crop for photos."""
    return component("crop_pad", padding=4) if side < 64 else component("resized_crop")


def _write_prepared(folder: Path, images: int, classes: int, side: int) -> None:
    folder.mkdir(parents=True)
    generator = np.random.default_rng([SEED, side])
    pixels = generator.integers(0, 256, (images, 3, side, side), dtype=np.uint8)
    np.save(folder / "images.npy", pixels)
    np.save(folder / "labels.npy", generator.integers(0, classes, images))
    notes = {
        "classes": [f"class {number}" for number in range(classes)],
        "image_shape": [3, side, side],
        "license": "none",
        "input_note": "random",
        "shape_note": "",
    }
    (folder / "classes.json").write_text(json.dumps(notes))
    calibration = max(32, images // 32)
    rows = list(range(images))
    splits = {
        "train": rows[calibration:],
        "calibration": rows[:calibration],
        "test": [],
        "duplicates": {"groups": []},
        "content_sha256": hashlib.sha256(pixels.tobytes()).hexdigest(),
    }
    (folder / "splits.json").write_text(json.dumps(splits))
