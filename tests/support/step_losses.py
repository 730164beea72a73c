"""Distil with frozen or live batch normalisation, and record the loss of every step over all processes.

torchrun --standalone --nproc-per-node 2 step_losses.py PREPARED TEACHER LOSSES.json MODE

MODE is frozen or live.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from torch import nn

from calkd_edge.data.prepared import Prepared
from calkd_edge.models import image_model
from calkd_edge.recipe.training import OptimizerSection, TrainingSection
from calkd_edge.records import Affine, Component, LossComponent
from calkd_edge.stages.distillation import Distillation, build_losses
from calkd_edge.stages.epochs import Epochs, description_of
from calkd_edge.stages.frozen_teacher import frozen_teacher
from calkd_edge.stages.params import EpochParams
from calkd_edge.training.accelerator import fabric_for
from calkd_edge.training.loop import Frozen, Training, fit

STEPS, LIVE_STEPS = 50, 8
PARAMS = EpochParams(augmentation=Component(name="crop_pad", settings={"padding": 4}), mixing=None, seed=17)


class Recorded(nn.Module):
    """A module that passes the terms on and records their sum in each step."""

    def __init__(self, module: Distillation) -> None:
        super().__init__()
        self.module, self.sums = module, []

    def forward(self, batch):
        terms = self.module(batch)
        self.sums.append(torch.stack(list(terms.values())).sum().detach())
        return terms


def main(data: Path, teacher_folder: Path, target: Path, normalisation: str) -> None:
    prepared = Prepared.open(data)
    fabric = fabric_for("cpu")
    model = Component(name="mobilenet_v2", settings={"width": 0.25})
    torch.manual_seed(3)
    student = image_model.build(description_of(model, prepared, "train"))
    norms = [module for module in student.modules() if isinstance(module, nn.BatchNorm2d)]
    student(torch.from_numpy(prepared.images[:256]))  # settles the statistics that then stay
    teacher = frozen_teacher(teacher_folder, fabric.device)
    losses = build_losses(
        [
            LossComponent(name="cross_entropy", weight=1.0, settings={}),
            LossComponent(name="kd", weight=0.9, settings={"temperature": 4.0}),
            LossComponent(name="hint", weight=0.1, settings={"student": "features.6", "teacher": "layer2"}),
        ],
        student,
        teacher,
        num_classes=len(prepared.classes),
        image_shape=prepared.image_shape,
        train_images=len(prepared.indices("train")),
        epochs=10,
    )
    norms += [module for module in losses.modules() if isinstance(module, nn.BatchNorm2d)]
    section = TrainingSection(epochs=10, images_per_step=32, optimizer=OptimizerSection(lr=0.02))
    epochs = Epochs.of(prepared, section.images_per_step, PARAMS)
    steps = LIVE_STEPS if normalisation == "live" else STEPS
    section = section.model_copy(update={"epochs": -(-steps // epochs.steps(fabric.world_size))})
    if normalisation == "live":
        # By batch statistics a difference grows some tenfold a step; from float32's it is there at once.
        losses.double()
        student.double()
        teacher.double()
    module = Recorded(Distillation(student, losses, teacher, Affine(scale=(0.7,))))
    training = Training(
        section=section,
        seed=17,
        steps_per_epoch=epochs.steps(fabric.world_size),
        batches=epochs.fresh,
        final_figures=dict,
        plain_images=epochs.plain_images,
        watch=lambda epoch: {"calibration_nll": 0.0},
        scratch=target.parent,
        history=target.with_suffix(".jsonl"),
        progress=lambda done, total: None,
        model=student,
        frozen=Frozen(modules=norms if normalisation == "frozen" else ()),
        freeze_epochs=section.epochs,
    )
    fit(module, training, fabric)
    means = fabric.all_reduce(torch.stack(module.sums), reduce_op="mean")
    if fabric.global_rank == 0:
        target.write_text(json.dumps(means.tolist()))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]), sys.argv[4])
