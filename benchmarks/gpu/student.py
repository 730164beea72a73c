"""Trainings of the self-check: a student, distilled by the project's own `fit`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import count

import numpy as np
import torch
from torch import Tensor, nn
from world import SEED, VIEWS, World, augmentation

from calkd_edge.recipe.training import OptimizerSection, TrainingSection
from calkd_edge.records import Affine, LossComponent
from calkd_edge.stages.distillation import Distillation, SoftLabels, build_losses
from calkd_edge.stages.epochs import Epochs, with_resident_images
from calkd_edge.stages.frozen_teacher import frozen_teacher
from calkd_edge.stages.params import EpochParams
from calkd_edge.training.accelerator import fabric_for
from calkd_edge.training.affine import TensorAffine
from calkd_edge.training.batch import Batch
from calkd_edge.training.loop import Training, fit

TEMPERATURE = Affine(scale=(0.7,))
KD = (
    LossComponent(name="cross_entropy", weight=0.1, settings={}),
    LossComponent(name="kd", weight=0.9, settings={"temperature": 4.0}),
)
CRD = (
    *KD,
    LossComponent(
        name="crd",
        weight=0.8,
        settings={"student": "classifier.1:input", "teacher": "fc:input", "negatives": 256},
    ),
)


class Recorded(nn.Module):
    """A module that passes its terms on and records their sum in each step."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.sums: list[Tensor] = []

    def forward(self, batch: object) -> dict[str, Tensor]:
        """The terms of the module."""
        terms: dict[str, Tensor] = self.module(batch)
        self.sums.append(torch.stack(list(terms.values())).sum().detach())
        return terms

    @property
    def losses(self) -> list[float]:
        """The loss of each step."""
        return [float(value) for value in self.sums]


class Enough(Exception):
    """As many steps as a section wants."""


def train(
    world: World,
    network: str,
    *,
    live: bool,
    accelerator: str | None = None,
    fabric: object = None,
    endless: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
    losses: Sequence[LossComponent] = KD,
    name: str = "run",
    **settings: object,
) -> Recorded:
    """Distil a student by the project's own `fit`; returns the module with the loss of each step.

    Args:
        world: the data and the teacher.
        network: N1, N2 or N3.
        live: the teacher runs in every step; else its stored logits are read.
        accelerator: cpu or cuda; the world's device by default.
        endless: one epoch without an end, for timing; only `progress` ends it.
        fabric: instead of the project's own for this accelerator.
        progress: called after each step; may raise Enough.
        losses: of the student.
        name: of the folder of its checkpoints.
        settings: of the training section.
    """
    side = world.size.sides[network]
    prepared, student = world.prepared(side), world.student(network)
    used = fabric or fabric_for(accelerator or world.accelerator, settings.get("autocast"))
    teacher = frozen_teacher(world.teacher_folder(side), used.device) if live else None
    rows = len(prepared.indices("train"))
    numbers = {"epochs": 1, "images_per_step": world.size.images_per_step, **settings}
    section = TrainingSection(optimizer=OptimizerSection(lr=0.01, momentum=0.9), **numbers)
    shape, classes = prepared.image_shape, len(prepared.classes)
    sum_of_losses = build_losses(
        losses,
        student,
        teacher,
        num_classes=classes,
        image_shape=shape,
        train_images=rows,
        epochs=section.epochs,
    )
    params = EpochParams(augmentation=augmentation(side), mixing=None, seed=SEED)
    on_gpu = used.device.type == "cuda"
    epochs = Epochs.of(prepared, section.images_per_step, params, defers=on_gpu)
    if live:
        source = with_resident_images(epochs, used.device).fresh
    else:
        source = _stored(epochs, rows, classes).batches_on(used.device, epochs)
    scratch = world.folder / name
    scratch.mkdir(exist_ok=True)
    training = Training(
        section=section,
        seed=SEED,
        steps_per_epoch=10**6 if endless else epochs.steps(used.world_size),
        batches=partial(_endless, source) if endless else source,
        watch=lambda epoch: {"calibration_nll": 0.0},
        final_figures=dict,
        plain_images=epochs.plain_images,
        scratch=scratch,
        history=scratch / "history.jsonl",
        progress=progress,
        model=student,
    )
    module = Recorded(Distillation(student, sum_of_losses, teacher, TEMPERATURE))
    with suppress(Enough):
        fit(module, training, used)
    return module


def _endless(source: Callable[..., Iterator[Batch]], epoch: int, rank: int, world: int) -> Iterator[Batch]:
    for number in count():
        yield from source(number, rank, world)


def _stored(epochs: Epochs, rows: int, classes: int) -> SoftLabels:
    """Logits of a teacher for two views; section A5 runs the stage that computes them."""
    generator = np.random.default_rng(SEED)
    drawn = [epochs.augmentation.draw(rows, generator) for _ in range(VIEWS)]
    views = {name: np.stack([view[name] for view in drawn]) for name in epochs.augmentation.columns}
    logits = generator.normal(size=(VIEWS, rows, classes)).astype(np.float16)
    return SoftLabels(logits, np.zeros((VIEWS, rows), np.float32), views, TensorAffine(TEMPERATURE))


def after(steps: int) -> Callable[[int, int], None]:
    """A progress that ends a training after so many steps."""

    def progress(done: int, total: int) -> None:
        if done >= steps:
            raise Enough

    return progress


def digest(module: nn.Module) -> str:
    """SHA-256 of all weights and buffers."""
    result = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        result.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return result.hexdigest()
