"""Sections of a recipe about networks and their training: models, losses, trainings.

In scope: their keys and bounds, and combinations within one section. Out of scope: the complete recipe, what
the names stand for.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from calkd_edge.records import Count, Epochs, Json, Mean, Record, Std


class Section(Record):
    """A part of a recipe; its numbers are finite."""

    model_config = ConfigDict(allow_inf_nan=False)


class Choice(Section):
    """A registered name with the recipe's settings of it, which the registry checks."""

    model_config = ConfigDict(extra="allow")
    name: str

    @property
    def settings(self) -> dict[str, Json]:
        """Everything but the name."""
        return dict(self.model_extra or {})


AUTO = "auto"
"""Of `pretrained`: published weights where they can be had, random weights elsewhere."""


class ModelSection(Choice):
    """A model by name; further keys belong to it.

    `weights` names a file that replaces training; `pretrained` starts from published weights (true; auto, if
    they can be had) or from a file, replaces the head, and freezes all other layers for `freeze_epochs`.
    `mean` and `std` are those of the normalisation that these weights were trained with, in fractions of 255.
    """

    weights: str | None = None
    pretrained: Literal[True] | str | None = None
    freeze_epochs: Epochs = Field(0, ge=0)
    trained_on: Literal["train", "all_train", "other"] | None = None
    mean: tuple[Mean, Mean, Mean] | None = None
    std: tuple[Std, Std, Std] | None = None

    @model_validator(mode="after")
    def _weights_declare_their_training(self) -> ModelSection:
        if self.weights is not None and self.pretrained is not None:
            raise ValueError("give weights (used unchanged) or pretrained (trained further), not both")
        foreign = self.weights is not None or self.pretrained is not None
        if foreign and self.pretrained not in (True, AUTO) and self.trained_on is None:
            raise ValueError(
                "a weights file must say which images it has seen: add trained_on: train (this recipe's "
                "train split only), all_train (the data set's complete training part) or other (none of them)"
            )
        if self.freeze_epochs and self.pretrained is None:
            raise ValueError("freeze_epochs: only a pretrained network has layers to freeze")
        if (self.mean is None) != (self.std is None):
            raise ValueError("mean and std belong together: give both, or neither")
        if self.mean is not None and not foreign:
            raise ValueError("mean and std belong to weights or pretrained; other networks use the data's")
        return self


class OptimizerSection(Section):
    """The optimizer and its numbers."""

    name: Literal["sgd", "adamw"] = "sgd"
    lr: float = Field(gt=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    nesterov: bool = False
    weight_decay: float = Field(5.0e-4, ge=0)
    pretrained_lr_factor: float = Field(1.0, gt=0, le=1)
    """The rate of layers that start pretrained, as a fraction of `lr`."""

    @model_validator(mode="after")
    def _momentum_belongs_to_sgd(self) -> OptimizerSection:
        if self.name == "adamw" and ({"momentum", "nesterov"} & self.model_fields_set):
            raise ValueError("momentum and nesterov belong to sgd: remove them, or set name: sgd")
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs momentum above 0: set momentum: 0.9, or nesterov: false")
        return self

    @model_serializer(mode="wrap")
    def _without_what_belongs_to_sgd(self, plain: SerializerFunctionWrapHandler) -> dict[str, Json]:
        keys: dict[str, Json] = plain(self)
        if self.name == "adamw":
            del keys["momentum"], keys["nesterov"]
        return keys


class ScheduleSection(Section):
    """The learning rate over the epochs; one_cycle rises for warmup_epochs, or for 0.3 of all epochs."""

    name: Literal["constant", "cosine", "steps", "one_cycle"] = "cosine"
    warmup_epochs: float = Field(0.0, ge=0)
    at_epochs: tuple[Annotated[Epochs, Field(ge=0)], ...] = ()
    factor: float = Field(0.1, gt=0, lt=1)

    @model_validator(mode="after")
    def _steps_have_epochs(self) -> ScheduleSection:
        if (self.name == "steps") != bool(self.at_epochs):
            raise ValueError("at_epochs and name: steps go together, e.g. at_epochs: [150, 180, 210]")
        if list(self.at_epochs) != sorted(set(self.at_epochs)):
            raise ValueError("at_epochs must increase")
        return self


class TrainingSection(Section):
    """Epochs over the train split."""

    epochs: Epochs = Field(ge=1)
    images_per_step: Count = Field(64, ge=2)
    optimizer: OptimizerSection
    schedule: ScheduleSection = ScheduleSection()
    clip_gradient_norm: float | None = Field(None, gt=0)
    sync_batch_norm: bool = True
    """With several processes; off: each process normalises by its local images."""
    measure_batch_norm: bool = True
    """After the last epoch, over training images in the final weights; off: the running statistics ship."""
    autocast: Literal["bf16", "fp16"] | None = None
    ema_decay: float | None = Field(None, gt=0, lt=1)
    mixing: Choice | None = None
    seed: int | None = Field(None, ge=0, lt=2**31)
    """Of the weights and draws of this training only; None uses the recipe's seed."""

    @property
    def numbers(self) -> dict[str, Json]:
        """The section as plain values, without the components and the seed, which stages get apart."""
        apart = {"losses", "soft_labels", "mixing", "seed", "control", "baseline"}
        return self.model_dump(mode="json", exclude=apart)

    @model_validator(mode="after")
    def _schedule_fits_the_epochs(self) -> TrainingSection:
        if self.schedule.at_epochs and self.schedule.at_epochs[-1] >= self.epochs:
            raise ValueError(
                f"schedule.at_epochs ends at {self.schedule.at_epochs[-1]}, "
                f"but there are only {self.epochs} epochs"
            )
        if self.schedule.warmup_epochs >= self.epochs:
            raise ValueError(f"schedule.warmup_epochs must be below epochs ({self.epochs})")
        return self


class TeacherTrainingSection(TrainingSection):
    """How the teacher learns from labels alone: cross-entropy, smoothed or focal."""

    label_smoothing: float = Field(0.0, ge=0, lt=1)
    focal_gamma: float = Field(0.0, ge=0, le=10)

    @model_validator(mode="after")
    def _smoothing_or_focal(self) -> TeacherTrainingSection:
        if self.label_smoothing and self.focal_gamma:
            raise ValueError("label_smoothing and focal_gamma: give one of them")
        return self


class LossSection(Choice):
    """One term of the sum that the student minimises; further keys belong to the loss."""

    weight: float = Field(1.0, gt=0)


ENOUGH_VIEWS = 16


class SoftLabelsSection(Section):
    """How the student gets the teacher's logits: stored for V seeded views of each image, or in every step.

    The default of `views` is 16, or the number of epochs if that is smaller: with 15, students were as good
    as with 60 and within a point of those whose teacher runs in every step
    (benchmarks/distillation/views.json). `top` stores the K largest logits of each row, and of the others
    mean and variance; it pays from 500 classes on (benchmarks/growth/soft_top.json).
    """

    views: int | None = Field(None, ge=1, le=1000)
    live: bool = False
    images_per_step: Count = Field(256, ge=1)
    top: Count | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _top_is_of_stored_rows(self) -> SoftLabelsSection:
        if self.live and self.top is not None:
            raise ValueError("top shortens stored rows, and live: true stores none: remove one of them")
        return self


class DistillSection(TrainingSection):
    """How the student learns from the calibrated teacher."""

    losses: tuple[LossSection, ...] = Field(min_length=1)
    soft_labels: SoftLabelsSection = SoftLabelsSection()
    control: bool = False
    """Whether a second student learns from the uncalibrated teacher, to measure the effect of calibrating."""
    baseline: bool = False
    """Whether a second student learns from labels alone, to measure the effect of teaching."""

    @property
    def views(self) -> int:
        """How many views of each image are stored."""
        views = self.soft_labels.views
        return min(ENOUGH_VIEWS, self.epochs) if views is None else views
