"""One training loop, timed step by step in a process of its own; speed.py starts it.

    python benchmarks/distillation/loops.py LOOP TEACHER STUDENT DATA STEPS

LOOP is `stored` (ours, soft labels), `live` (ours, the teacher in each step), `teacher` (its pass over stored
views), `plain` (a loop of torch's own parts over the same soft labels), or `the field's` (a loader, the
teacher live, figures read in each step, as mdistiller works). The last two train the networks with the
channel shuffle of torchvision, since ours is part of what is compared.
Prints {"seconds": [of each step], "images_per_step": ..., "epoch_end_s": ..., "peak_mib": ...}.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.models.shufflenetv2 import InvertedResidual
from torchvision.models.shufflenetv2 import channel_shuffle as torchvisions_shuffle

from calkd_edge.data.prepared import Prepared
from calkd_edge.models import image_model, shufflenet, shufflenet_v1
from calkd_edge.recipe.training import OptimizerSection, TrainingSection
from calkd_edge.records import Affine, Component, LossComponent
from calkd_edge.stages.distillation import Distillation, SoftLabels, build_losses
from calkd_edge.stages.epochs import Epochs, augmentation_of, description_of, watcher
from calkd_edge.stages.params import EpochParams
from calkd_edge.stages.soft_labels import TeacherPass
from calkd_edge.training.accelerator import fabric_for
from calkd_edge.training.affine import TensorAffine
from calkd_edge.training.loop import Training, fit

IMAGES_PER_STEP, TEACHER_IMAGES_PER_STEP = 64, 256
WARM_UP, TEACHER_WARM_UP = 10, 3
AUGMENTATION = Component(name="crop_pad", settings={"padding": 4})
LOSSES = [
    LossComponent(name="cross_entropy", weight=0.1, settings={}),
    LossComponent(name="kd", weight=0.9, settings={"temperature": 4.0}),
]
OPTIMIZER = {"lr": 0.01, "momentum": 0.9, "weight_decay": 5e-4}


class Enough(Exception):
    """As many steps as were asked for."""


class Clock:
    """Seconds of each step."""

    def __init__(self, steps: int, warm_up: int) -> None:
        self.steps, self.warm_up, self.marks = steps, warm_up, [time.perf_counter()]
        self.epoch_end_s = 0.0

    def __call__(self, *_: object) -> None:
        """A step has ended."""
        self.marks.append(time.perf_counter())
        if len(self.marks) > self.warm_up + self.steps:
            raise Enough

    @property
    def seconds(self) -> list[float]:
        """Of the steps after the warm-up."""
        return np.diff(self.marks)[self.warm_up :].tolist()


def network(name: str, prepared: Prepared) -> tuple[image_model.ImageModel, Any]:
    """An untrained network of the literature's size: NAME or NAME{"setting": value}."""
    plain, brace, settings = name.partition("{")
    component = Component(name=plain, settings=json.loads(brace + settings) if brace else {})
    torch.manual_seed(0)
    description = description_of(component, prepared, "train")
    return image_model.build(description), description


def ours(loop: str, teacher: str, student: str, prepared: Prepared, clock: Clock) -> None:
    """The product's own fit(), with soft labels of one view or with the teacher live."""
    fabric = fabric_for("cpu")
    learner, _ = network(student, prepared)
    taught = None
    if loop == "live":
        taught, _ = network(teacher, prepared)
        taught = taught.eval().requires_grad_(False).to(memory_format=torch.channels_last)
    rows = prepared.indices("train")
    section = TrainingSection(
        epochs=1000, images_per_step=IMAGES_PER_STEP, optimizer=OptimizerSection(**OPTIMIZER)
    )
    losses = build_losses(
        LOSSES,
        learner,
        taught,
        num_classes=len(prepared.classes),
        image_shape=prepared.image_shape,
        train_images=len(rows),
        epochs=section.epochs,
    )
    params = EpochParams(augmentation=AUGMENTATION, mixing=None, seed=17)
    epochs = Epochs.of(prepared, IMAGES_PER_STEP, params)
    generator = np.random.default_rng(1)
    view = {name: column[None] for name, column in epochs.augmentation.draw(len(rows), generator).items()}
    logits = generator.normal(size=(1, len(rows), len(prepared.classes))).astype(np.float16)
    affine = Affine(scale=(0.7,))
    stored = SoftLabels(logits, np.zeros((1, len(rows)), np.float32), view, TensorAffine(affine))
    with tempfile.TemporaryDirectory() as scratch:
        training = Training(
            section=section,
            seed=17,
            steps_per_epoch=epochs.steps(1),
            batches=epochs.fresh
            if loop == "live"
            else lambda epoch, rank, world: stored.batches(epochs, epoch, rank, world),
            final_figures=dict,
            plain_images=epochs.plain_images,
            watch=lambda epoch: {"calibration_nll": 0.0},
            scratch=Path(scratch),
            history=Path(scratch) / "history.jsonl",
            progress=clock,
            model=learner,
        )
        try:
            fit(Distillation(learner, losses, taught, affine), training, fabric)
        except Enough:
            watch = watcher(learner, prepared)
            begun = time.perf_counter()
            watch(0)
            clock.epoch_end_s = time.perf_counter() - begun


def teacher_pass(teacher: str, prepared: Prepared, clock: Clock) -> None:
    """Batches through the soft-label stage's own teacher."""
    taught, _ = network(teacher, prepared)
    taught = taught.eval().requires_grad_(False).to(memory_format=torch.channels_last)
    augmentation = augmentation_of(AUGMENTATION, prepared)
    rows = prepared.indices("train")
    asked = TeacherPass(taught, torch.device("cpu"), prepared, augmentation)
    while True:
        view = augmentation.draw(len(rows), np.random.default_rng(1))
        for start in range(0, len(rows) - TEACHER_IMAGES_PER_STEP + 1, TEACHER_IMAGES_PER_STEP):
            asked.logits(rows, slice(start, start + TEACHER_IMAGES_PER_STEP), view)
            clock()


def as_published(net: torch.nn.Module) -> torch.nn.Module:
    """A network with the channel shuffle that peers use."""
    shufflenet_v1.channel_shuffle = torchvisions_shuffle
    for module in net.modules():
        if type(module) is shufflenet.Unit:
            module.__class__ = InvertedResidual
    return net


def plain(student: str, prepared: Prepared, clock: Clock) -> None:
    """Soft labels and batched augmentation as ours, all else as torch does it when it is left alone."""
    learner, _ = network(student, prepared)
    learner = as_published(learner).train()
    augmentation, rows = augmentation_of(AUGMENTATION, prepared), prepared.indices("train")
    images, labels = torch.from_numpy(prepared.images[rows]), torch.from_numpy(prepared.labels[rows])
    generator = np.random.default_rng(1)
    soft = torch.from_numpy(generator.normal(size=(len(rows), len(prepared.classes))).astype(np.float32))
    optimizer = torch.optim.SGD(learner.parameters(), **OPTIMIZER)
    while True:
        order = torch.randperm(len(rows))
        for chosen in order.split(IMAGES_PER_STEP):
            view = augmentation.draw(len(chosen), generator)
            logits = learner(augmentation.replay(images[chosen], view))
            divergence = torch.nn.functional.kl_div(
                (logits / 4).log_softmax(1), (soft[chosen] / 4).softmax(1), reduction="batchmean"
            )
            loss = 0.1 * torch.nn.functional.cross_entropy(logits, labels[chosen]) + 0.9 * 16 * divergence
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            clock()


class Cifar(Dataset[tuple[Any, int]]):
    """Images one by one through Pillow and torchvision's transforms, as torchvision's CIFAR100 gives them."""

    def __init__(self, prepared: Prepared) -> None:
        rows = prepared.indices("train")
        self.data = np.ascontiguousarray(np.asarray(prepared.images[rows]).transpose(0, 2, 3, 1))
        self.targets = prepared.labels[rows].tolist()
        self.transform = transforms.Compose(
            [
                transforms.RandomCrop(32, padding=4),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
            ]
        )

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self.transform(Image.fromarray(self.data[index])), self.targets[index]


def the_fields(teacher: str, student: str, prepared: Prepared, clock: Clock) -> None:
    """As mdistiller's trainer works: a loader with two workers, the teacher live, figures read in each step.

    Written here after its protocol (batches of 64, KD with temperature 4, cross-entropy 0.1); networks are
    channels first, with torchvision's channel shuffle.
    """
    taught, learner = network(teacher, prepared)[0].backbone.eval(), network(student, prepared)[0].backbone
    learner = as_published(learner).train()
    optimizer = torch.optim.SGD(learner.parameters(), **OPTIMIZER)
    loader = DataLoader(Cifar(prepared), batch_size=IMAGES_PER_STEP, shuffle=True, num_workers=2)
    while True:
        for images, labels in loader:
            optimizer.zero_grad()
            logits = learner(images)
            with torch.no_grad():
                wanted = taught(images)
            divergence = torch.nn.functional.kl_div(
                (logits / 4).log_softmax(1), (wanted / 4).softmax(1), reduction="batchmean"
            )
            loss = 0.1 * torch.nn.functional.cross_entropy(logits, labels) + 0.9 * 16 * divergence
            loss.backward()
            optimizer.step()
            best = logits.topk(5, 1).indices == labels[:, None]
            _ = loss.item(), best[:, 0].float().mean().item(), best.any(1).float().mean().item()
            clock()


def main(loop: str, teacher: str, student: str, data: str, steps: int) -> None:
    """Run the loop until the clock has enough."""
    prepared = Prepared.open(Path(data))
    clock = Clock(steps, TEACHER_WARM_UP if loop == "teacher" else WARM_UP)
    try:
        if loop == "teacher":
            teacher_pass(teacher, prepared, clock)
        elif loop == "the field's":
            the_fields(teacher, student, prepared, clock)
        elif loop == "plain":
            plain(student, prepared, clock)
        else:
            ours(loop, teacher, student, prepared, clock)
    except Enough:
        pass
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    size = TEACHER_IMAGES_PER_STEP if loop == "teacher" else IMAGES_PER_STEP
    told = {"seconds": clock.seconds, "images_per_step": size, "epoch_end_s": clock.epoch_end_s}
    print(json.dumps({**told, "peak_mib": round(peak)}))


if __name__ == "__main__":
    main(*sys.argv[1:5], int(sys.argv[5]))
