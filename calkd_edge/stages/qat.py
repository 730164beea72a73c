"""qat: a distilled student, trained further while it rounds as its int8 file will."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from calkd_edge.data.prepared import Prepared
from calkd_edge.engine.stage import Job
from calkd_edge.export.artifacts import TRAINED_RANGES
from calkd_edge.models import image_model
from calkd_edge.recipe.training import TrainingSection
from calkd_edge.stages.distillation import distil
from calkd_edge.stages.params import QatParams
from calkd_edge.stages.start import Start
from calkd_edge.training.fake_int8 import IMAGES_PER_RUN, fake_int8, layers_of, ranges_of
from calkd_edge.training.loop import Frozen


def run(job: Job) -> None:
    """Write the student's weights.safetensors, model.json, history.jsonl and ranges.json."""
    params = QatParams.model_validate(job.params)
    prepared = Prepared.open(job.inputs["data"], job.locations["cache"])
    student, description = image_model.load(job.inputs["student"])
    images = torch.from_numpy(prepared.arrays("train", params.images, params.seed)[0])

    def batches() -> Iterator[Tensor]:
        return iter(torch.split(images, IMAGES_PER_RUN))

    layers = layers_of(student, images[:2])
    ranges = ranges_of(student, layers, batches, params.ranges)
    epochs = TrainingSection.model_validate(params.training).epochs
    # All of them, also those that are not folded: the file has no other statistics than the stored ones.
    norms = [module for module in student.modules() if isinstance(module, _BatchNorm)]
    start = Start(student, description, Frozen(norms))
    within = partial(fake_int8, layers, ranges, params.scales)
    if distil(job, params, prepared, start, freeze_epochs=epochs, within=within):
        (job.out / TRAINED_RANGES).write_text(json.dumps(ranges, indent=1), encoding="utf-8")
