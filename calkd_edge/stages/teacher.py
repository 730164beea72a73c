"""teacher: trained here on the train split with labels alone, or taken from a weights file."""

from __future__ import annotations

import json

import torch
from torch import Tensor, nn

from calkd_edge.data.prepared import Prepared
from calkd_edge.engine.stage import Job
from calkd_edge.export.artifacts import HISTORY
from calkd_edge.losses.objective import averaged
from calkd_edge.models import image_model
from calkd_edge.models.image_model import ImageModel
from calkd_edge.recipe.training import TeacherTrainingSection
from calkd_edge.stages.epochs import Epochs, final_figures, watcher, with_resident_images
from calkd_edge.stages.params import TeacherParams
from calkd_edge.stages.start import Start, start_of
from calkd_edge.training.accelerator import fabric_for
from calkd_edge.training.batch import Batch
from calkd_edge.training.loop import Training, fit


class Supervised(nn.Module):
    """A model with the cross-entropy of its labels; both labels' where images are mixed.

    With `focal_gamma` g each image weighs (1 - p)^g, p being the probability of its label: what is learned
    already counts less, so that confidence grows less.

    Source: Lin et al., ICCV 2017 (arXiv 1708.02002); for calibration: Mukhoti et al., NeurIPS 2020 (arXiv
    2002.09437).
    """

    def __init__(self, model: ImageModel, label_smoothing: float = 0.0, focal_gamma: float = 0.0) -> None:
        super().__init__()
        self.model, self.label_smoothing, self.focal_gamma = model, label_smoothing, focal_gamma

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The only term."""
        logits = self.model(batch.images).float()
        loss = self._of_labels(logits, batch.labels)
        if batch.other_labels is not None:
            loss = averaged(loss, self._of_labels(logits, batch.other_labels), batch.on_device.share)
        return {"cross_entropy": loss}

    def _of_labels(self, logits: Tensor, labels: Tensor) -> Tensor:
        if not self.focal_gamma:
            return nn.functional.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)
        nll = nn.functional.cross_entropy(logits, labels, reduction="none")
        missed = (-torch.expm1(-nll)).clamp_min(1e-12)  # of 0, a power below 1 has no gradient
        return (missed**self.focal_gamma * nll).mean()


def run(job: Job) -> None:
    """Write weights.safetensors, model.json and history.jsonl."""
    params = TeacherParams.model_validate(job.params)
    prepared = Prepared.open(job.inputs["data"], job.locations["cache"])
    start = start_of(job, params, params.model, params.seed, prepared, where="teacher")
    if params.training is None:
        (job.out / HISTORY).write_text(json.dumps({"weights": params.weights_sha256}) + "\n")
        image_model.save(start.model, start.description, job.out)
        return
    section = TeacherTrainingSection.model_validate(params.training)
    train(start, prepared, job, params, section)


def train(
    start: Start, prepared: Prepared, job: Job, params: TeacherParams, section: TeacherTrainingSection
) -> None:
    """Train on the train split and save."""
    model = start.model
    fabric = fabric_for(job.locations["accelerator"], section.autocast)
    on_gpu = fabric.device.type == "cuda"
    epochs = Epochs.of(prepared, section.images_per_step, params, defers=on_gpu)
    epochs = with_resident_images(epochs, fabric.device)
    module = Supervised(model, section.label_smoothing, section.focal_gamma)
    training = Training(
        section=section,
        seed=params.seed,
        steps_per_epoch=epochs.steps(fabric.world_size),
        batches=epochs.fresh,
        final_figures=final_figures(model, prepared),
        plain_images=epochs.plain_images,
        watch=watcher(model, prepared),
        scratch=job.scratch,
        history=job.out / HISTORY,
        progress=job.progress,
        model=model,
        frozen=start.frozen,
        freeze_epochs=params.freeze_epochs,
    )
    fit(module, training, fabric)
    if fabric.global_rank == 0:
        image_model.save(model, start.description, job.out)
