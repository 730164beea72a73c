"""A student trained against the calibrated teacher: what distilling and training for int8 have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from calkd_edge.data.prepared import Prepared
from calkd_edge.engine.stage import Job
from calkd_edge.export.artifacts import CALIBRATION, HISTORY
from calkd_edge.losses import LOSSES
from calkd_edge.losses.base import Context, Loss, Outputs, Step
from calkd_edge.losses.objective import WeightedLosses
from calkd_edge.models import image_model
from calkd_edge.models.forms import ImageShape
from calkd_edge.models.image_model import ImageModel
from calkd_edge.models.taps import feature_shape, module_at, tapped
from calkd_edge.recipe.training import TrainingSection
from calkd_edge.records import Affine, Calibration, FloatArray, IntArray, LossComponent
from calkd_edge.stages.epochs import Epochs, final_figures, watcher, with_resident_images
from calkd_edge.stages.frozen_teacher import frozen_teacher
from calkd_edge.stages.params import LearningParams
from calkd_edge.stages.start import Start
from calkd_edge.stages.top_logits import StoredTails, check_kind
from calkd_edge.training.accelerator import fabric_for
from calkd_edge.training.affine import TensorAffine
from calkd_edge.training.batch import Batch
from calkd_edge.training.cuda import full_float32
from calkd_edge.training.loop import Training, fit
from calkd_edge.training.resident import Draw, ResidentLogits


class Distillation(nn.Module):
    """Student and losses as one trainable module; the frozen teacher is not registered, so DDP ignores it.

    Args:
        student: trained.
        losses: trained with it where they have layers.
        teacher: run when a batch has no soft labels; None when every batch has them.
        affine: the teacher's calibration.
    """

    def __init__(
        self, student: ImageModel, losses: WeightedLosses, teacher: nn.Module | None, affine: Affine
    ) -> None:
        super().__init__()
        self.student, self.losses = student, losses
        self.unregistered = (teacher,)  # a tuple hides it from nn.Module's registration
        self.affine = TensorAffine(affine)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Every weighted term of one batch."""
        terms: Sequence[Loss] = list(self.losses.losses)  # type: ignore[arg-type]  # ModuleList holds Modules
        student_taps = sorted({path for loss in terms for path in loss.student_taps})
        teacher_taps = sorted({path for loss in terms for path in loss.teacher_taps})
        with tapped(self.student, student_taps, where="student") as features:
            student = Outputs(self.student(batch.images), features)
        teacher = self._teacher(batch, teacher_taps)
        numbers = batch.on_device
        step = Step(student, teacher, batch.labels, batch.indices, batch.epoch, numbers.epoch)
        if batch.other_labels is not None:
            return self.losses.mixed(step, batch.other_labels, numbers.share)
        result: dict[str, Tensor] = self.losses(step)
        return result

    def _teacher(self, batch: Batch, paths: Sequence[str]) -> Outputs:
        if batch.teacher_logits is not None:
            return Outputs(batch.teacher_logits, {})
        teacher = self.unregistered[0]
        if teacher is None:
            return Outputs(torch.empty(0), {})
        # In full precision, as its calibration was fitted, also where the student autocasts or uses TF32.
        exact = torch.autocast(batch.images.device.type, enabled=False)
        with torch.no_grad(), exact, full_float32():
            if not paths:  # a file that another runtime runs has no modules to tap
                return Outputs(self.affine(teacher(batch.images).float()), {})
            with tapped(_present(teacher), paths, where="teacher") as features:
                logits = teacher(batch.images).float()
        return Outputs(self.affine(logits), features)


@dataclass(frozen=True)
class SoftLabels:
    """The stored logits of the teacher, calibrated when they are read; truncated rows have tails."""

    logits: np.ndarray
    offsets: np.ndarray
    views: Mapping[str, np.ndarray]
    affine: TensorAffine
    tails: StoredTails | None = None
    resident: ResidentLogits | None = None

    @classmethod
    def open(cls, folder: Path, affine: Affine) -> SoftLabels:
        """The folder that the stage soft_labels wrote; logits stay on disk until they are read.

        Raises:
            RecipeError: rows are truncated, and the calibration mixes all of a row's logits.
        """
        with np.load(folder / "views.npz", allow_pickle=False) as stored:
            views = {name: stored[name] for name in stored.files if name not in ("version", "seed", "rows")}
        logits = np.load(folder / "logits.npy", mmap_mode="r", allow_pickle=False)
        offsets = np.load(folder / "offsets.npy", allow_pickle=False)
        tails = StoredTails.open(folder) if (folder / StoredTails.CLASSES).is_file() else None
        if tails is not None:
            check_kind(affine.kind(len(tails.form.order)), "the teacher's calibration")
        return cls(logits, offsets, views, TensorAffine(affine), tails)

    def raw(self, view: int, chosen: IntArray) -> FloatArray:
        """The teacher's logits before its calibration, for positions in the train split, float32 [B, C]."""
        rows: FloatArray = self.logits[view, chosen].astype(np.float32)
        if self.tails is not None:
            rows = self.tails.restored(rows, view, chosen)
        rows += self.offsets[view, chosen][:, None]
        return rows

    def batches(self, epochs: Epochs, epoch: int, rank: int, world_size: int) -> Iterator[Batch]:
        """Epoch e uses view e modulo V of every image, and the teacher's logits of that view."""
        number = epoch % len(self.logits)
        draws = (
            Draw(
                chosen,
                {name: column[number, chosen] for name, column in self.views.items()},
                epoch + step / epochs.steps(world_size),
            )
            for step, chosen in enumerate(epochs.order(epoch, rank, world_size))
        )
        if epochs.resident is not None and (resident := self.resident) is not None:
            resident.fill(self.logits[number], self.offsets[number])
            yield from epochs.resident.batches(
                list(draws), epochs.augmentation.replay, lambda chosen: self.affine(resident(chosen))
            )
            return
        for chosen, view, at in draws:
            logits = self.affine(torch.from_numpy(self.raw(number, chosen)))
            yield epochs.batch(chosen, view, at, logits)

    def batches_on(self, device: torch.device, epochs: Epochs) -> Callable[[int, int, int], Iterator[Batch]]:
        """(epoch, rank, world size) -> batches, from images and labels that lie on the device if they fit.

        A calibration by a matrix is computed on the CPU: a GPU would sum in another order. Truncated rows are
        completed there too.
        """
        classes = self.logits.shape[2]
        if self.tails is not None or self.affine.affine.kind(classes) == "matrix":
            return partial(self.batches, epochs)
        epochs = with_resident_images(epochs, device, classes=classes)
        if epochs.resident is None:
            return partial(self.batches, epochs)
        stored = replace(self, resident=ResidentLogits(len(epochs.rows), classes, device))
        return partial(stored.batches, epochs)


def distil(
    job: Job,
    params: LearningParams,
    prepared: Prepared,
    start: Start,
    *,
    freeze_epochs: int,
    within: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> bool:
    """Train a student and write it.

    Args:
        job: of distill, or of a stage that continues from a student.
        params: how it learns.
        prepared: the data.
        start: the student as it is.
        freeze_epochs: how long the layers in start.frozen are not trained.
        within: a context around each epoch and the figures after it.

    Returns:
        Whether this process, of several, is the one that writes.
    """
    affine = teacher_affine(job)
    student = start.model
    live = params.teacher_mode == "live"
    section = TrainingSection.model_validate(params.training)
    fabric = fabric_for(job.locations["accelerator"], section.autocast)
    teacher = frozen_teacher(job.inputs["teacher"], fabric.device) if live else None
    losses = build_losses(
        params.losses,
        student,
        teacher,
        num_classes=len(prepared.classes),
        image_shape=prepared.image_shape,
        train_images=len(prepared.indices("train")),
        epochs=section.epochs,
    )
    on_gpu = fabric.device.type == "cuda"
    epochs = Epochs.of(prepared, section.images_per_step, params, defers=on_gpu)
    if "soft_labels" in job.inputs:
        batches = SoftLabels.open(job.inputs["soft_labels"], affine).batches_on(fabric.device, epochs)
    else:
        batches = with_resident_images(epochs, fabric.device).fresh
    training = Training(
        section=section,
        seed=params.seed,
        steps_per_epoch=epochs.steps(fabric.world_size),
        batches=batches,
        final_figures=final_figures(student, prepared),
        plain_images=epochs.plain_images,
        watch=watcher(student, prepared),
        scratch=job.scratch,
        history=job.out / HISTORY,
        progress=job.progress,
        model=student,
        frozen=start.frozen,
        freeze_epochs=freeze_epochs,
        within=within,
    )
    fit(Distillation(student, losses, teacher, affine), training, fabric)
    writes = fabric.global_rank == 0
    if writes:
        image_model.save(student, start.description, job.out)
    return writes


def teacher_affine(job: Job) -> Affine:
    """The teacher's calibration; the identity for a control, whose teacher stays uncalibrated."""
    if "calibration" not in job.inputs:
        return Affine(scale=(1.0,))
    text = (job.inputs["calibration"] / CALIBRATION).read_text(encoding="utf-8")
    return Calibration.model_validate_json(text).affine


def build_losses(
    components: Sequence[LossComponent],
    student: ImageModel,
    teacher: nn.Module | None,
    *,
    num_classes: int,
    image_shape: ImageShape,
    train_images: int,
    epochs: int,
) -> WeightedLosses:
    """The recipe's losses, each sized by dry forward passes where it reads features.

    Raises:
        RecipeError: a tap that leads nowhere, or to a feature that a loss cannot read.
    """

    def shape(model: nn.Module | None, where: str, path: str) -> tuple[int, ...]:
        return feature_shape(_present(model), path, image_shape, where=where)

    def module(model: nn.Module | None, where: str, path: str) -> nn.Module:
        return module_at(_present(model), path, where=where)

    context = Context(
        num_classes=num_classes,
        train_images=train_images,
        epochs=epochs,
        student_shape=partial(shape, student, "student"),
        teacher_shape=partial(shape, teacher, "teacher"),
        student_module=partial(module, student, "student"),
        teacher_module=partial(module, teacher, "teacher"),
    )
    terms = [
        (loss.name, loss.weight, LOSSES.load(loss.name)(context, **loss.settings)) for loss in components
    ]
    return WeightedLosses(terms)


def _present(model: nn.Module | None) -> ImageModel:
    if not isinstance(model, ImageModel):
        raise RuntimeError("a loss needs teacher features, but the plan runs no teacher in torch")
    return model
