"""What a recipe may say: its sections, their bounds, and how a recipe is found and read.

In scope: the shape of a recipe file, overrides, the smoke variant. Out of scope: what the names in it stand
for
(the registries know), torch, the network, any file but the recipe.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, Field, PositiveFloat, ValidationError, model_validator

from calkd_edge import recipe_text
from calkd_edge.records import Json, Record
from calkd_edge.registry import most_telling, recipe_error

RECIPE_VERSION = 1


class Section(Record):
    """A part of a recipe: numbers in it are finite."""

    model_config = ConfigDict(allow_inf_nan=False)


class Choice(Section):
    """A registered name and what the recipe says about it; the registry checks the latter."""

    model_config = ConfigDict(extra="allow")
    name: str

    @property
    def settings(self) -> dict[str, Any]:
        """Everything but the name."""
        return dict(self.model_extra or {})


class DataSection(Choice):
    """Which images, and how they are split; further keys belong to the data set."""

    root: str | None = None
    calibration_images: int = Field(ge=20)
    train_images: int | None = Field(None, ge=1)
    test_images: int | None = Field(None, ge=1)
    drop_duplicates: bool = False
    broken: Literal["refuse", "skip"] = "refuse"
    augmentation: Choice = Choice(name="crop_pad")


class ModelSection(Choice):
    """A model by name; further keys belong to it.

    `weights` takes a file in place of training; `pretrained` begins with published weights (true) or a
    file's, replaces the head, and lets all else stay as it is for `freeze_epochs`. `mean` and `std` are those
    of the normalisation that foreign weights were trained with, in fractions of 255.
    """

    weights: str | None = None
    pretrained: Literal[True] | str | None = None
    freeze_epochs: int = Field(0, ge=0)
    trained_on: Literal["train", "all_train", "other"] | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] | None = None

    @model_validator(mode="after")
    def _foreign_weights_say_what_they_are(self) -> ModelSection:
        if self.weights is not None and self.pretrained is not None:
            raise ValueError("give weights (taken as they are) or pretrained (trained on), not both")
        foreign = self.weights is not None or self.pretrained is not None
        if foreign and self.pretrained is not True and self.trained_on is None:
            raise ValueError(
                "a weights file must say which images it has seen: add trained_on: train (this recipe's "
                "train split only), all_train (the data set's whole training part) or other (none of them)"
            )
        if self.freeze_epochs and self.pretrained is None:
            raise ValueError("freeze_epochs: only a pretrained network has something to freeze")
        if (self.mean is None) != (self.std is None):
            raise ValueError("mean and std belong together: give both, or neither")
        if self.mean is not None and not foreign:
            raise ValueError("mean and std belong to weights or pretrained; else the data's are taken")
        return self


class OptimizerSection(Section):
    """The optimizer and its numbers."""

    name: Literal["sgd", "adamw"] = "sgd"
    lr: float = Field(gt=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    nesterov: bool = False
    weight_decay: float = Field(5.0e-4, ge=0)

    @model_validator(mode="after")
    def _momentum_belongs_to_sgd(self) -> OptimizerSection:
        if self.name == "adamw" and ({"momentum", "nesterov"} & self.model_fields_set):
            raise ValueError("momentum and nesterov belong to sgd: remove them, or set name: sgd")
        return self


class ScheduleSection(Section):
    """How the learning rate moves over the epochs; one_cycle rises for warmup_epochs, or 0.3 of all."""

    name: Literal["constant", "cosine", "steps", "one_cycle"] = "cosine"
    warmup_epochs: float = Field(0.0, ge=0)
    at_epochs: tuple[int, ...] = ()
    factor: float = Field(0.1, gt=0, lt=1)

    @model_validator(mode="after")
    def _steps_say_when(self) -> ScheduleSection:
        if (self.name == "steps") != bool(self.at_epochs):
            raise ValueError("at_epochs and name: steps go together, e.g. at_epochs: [150, 180, 210]")
        if list(self.at_epochs) != sorted(set(self.at_epochs)):
            raise ValueError("at_epochs must rise")
        return self


class TrainingSection(Section):
    """Epochs over the train split."""

    epochs: int = Field(ge=1)
    images_per_step: int = Field(64, ge=2)
    optimizer: OptimizerSection
    schedule: ScheduleSection = ScheduleSection()
    clip_gradient_norm: float | None = Field(None, gt=0)
    sync_batch_norm: bool = False
    autocast: Literal["bf16", "fp16"] | None = None
    ema_decay: float | None = Field(None, gt=0, lt=1)
    mixing: Choice | None = None
    seed: int | None = Field(None, ge=0)
    """Of this training's weights and draws alone; None takes the recipe's."""

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
    """How the teacher learns from labels alone."""

    label_smoothing: float = Field(0.0, ge=0, lt=1)


class LossSection(Choice):
    """One term of the sum that the student minimises; further keys belong to the loss."""

    weight: float = Field(1.0, gt=0)


class SoftLabelsSection(Section):
    """How the teacher's answers are kept: V seeded views of every training image, or asked anew each step."""

    views: int = Field(4, ge=1, le=1000)
    live: bool = False
    images_per_step: int = Field(256, ge=1)


class DistillSection(TrainingSection):
    """How the student learns from the calibrated teacher."""

    losses: tuple[LossSection, ...] = Field(min_length=1)
    soft_labels: SoftLabelsSection = SoftLabelsSection()


class ExportSection(Section):
    """The ONNX file."""

    opset: int = Field(20, ge=18, le=20)


class CalibrateSection(Section):
    """Whose logits the shipped calibration is fitted to."""

    on: str = "local"


class EvaluateSection(Section):
    """How much of the test split is scored; None is all of it."""

    images: int | None = Field(None, ge=1)


class BenchmarkSection(Section):
    """How latency is measured. quick: one short process; standard: 3 fresh ones of 60 s and 1,024 runs."""

    profile: Literal["quick", "standard"] = "quick"
    threads: int = Field(1, ge=1)
    min_runs: int | None = Field(None, ge=10)
    min_seconds: float | None = Field(None, gt=0)
    max_age_days: float = Field(7.0, gt=0)


class DeviceSection(Section):
    """A device by name and the runtime to use on it."""

    name: str
    runtime: str = "onnxruntime"

    @property
    def label(self) -> str:
        """name:runtime."""
        return f"{self.name}:{self.runtime}"


class GateSection(Section):
    """A limit on one metric: at most `max`, at least `min`, or an equivalence `within` plus or minus."""

    metric: str
    max: float | None = None
    min: float | None = None
    within: float | None = Field(None, gt=0)
    precision: str | None = None
    device: str | None = None
    model: Literal["teacher", "student"] = "student"
    threshold: float | None = Field(None, gt=0, lt=1)

    @model_validator(mode="after")
    def _one_limit(self) -> GateSection:
        if sum(limit is not None for limit in (self.max, self.min, self.within)) != 1:
            raise ValueError("a gate has exactly one of max, min and within")
        return self


class Recipe(Section):
    """A whole recipe, every default filled in."""

    version: Literal[1]
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    seed: int = Field(17, ge=0, lt=2**31)
    data: DataSection
    teacher: ModelSection
    teacher_training: TeacherTrainingSection | None = None
    calibrator: Choice = Choice(name="temperature")
    student: ModelSection
    distill: DistillSection
    export: ExportSection = ExportSection()
    precisions: tuple[Choice, ...] = (Choice(name="fp32"), Choice(name="fp16"), Choice(name="int8"))
    calibrate: CalibrateSection = CalibrateSection()
    evaluate: EvaluateSection = EvaluateSection()
    benchmark: BenchmarkSection = BenchmarkSection()
    devices: tuple[DeviceSection, ...] = (DeviceSection(name="local"),)
    gates: tuple[GateSection, ...] = ()

    @model_validator(mode="after")
    def _parts_fit_together(self) -> Recipe:
        if (self.teacher.weights is None) == (self.teacher_training is None):
            raise ValueError("give teacher_training (train it here) or teacher.weights (a file): exactly one")
        names = [precision.name for precision in self.precisions]
        if "fp32" not in names:
            raise ValueError("precisions must hold fp32: the others are compared with it")
        if len(set(names)) != len(names):
            raise ValueError(f"precisions names one twice: {', '.join(names)}")
        labels = [device.label for device in self.devices]
        if len(set(labels)) != len(labels):
            raise ValueError(f"devices names one twice: {', '.join(labels)}")
        for place, gate in enumerate(self.gates):
            if gate.precision is not None and gate.precision not in names:
                listed = ", ".join(names)
                raise ValueError(f"gates[{place}].precision: '{gate.precision}' is not among {listed}")
        if self.student.weights is not None:
            raise ValueError("student.weights: the student is trained here; take student.pretrained: FILE")
        for name, model, training in (
            ("teacher", self.teacher, self.teacher_training),
            ("student", self.student, self.distill),
        ):
            if training is not None and model.freeze_epochs > training.epochs:
                raise ValueError(f"{name}.freeze_epochs exceeds the {training.epochs} epochs of its training")
        return self


def load_recipe(name_or_path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe of a file or a packaged name, with `a.b=c` overrides applied, checked whole.

    Args:
        name_or_path: a path, else the name of a packaged recipe with or without `.yaml`.
        overrides: dotted assignments; values are YAML. Paths in them are relative to the working directory,
        paths in
            the file to the file.

    Raises:
        RecipeError: not found, not YAML, or not a valid recipe.
    """
    source = recipe_text.find(name_or_path)
    tree = recipe_text.read(source)
    recipe_text.anchor_paths(tree, source.parent)
    for override in overrides:
        recipe_text.assign(tree, override)
    recipe_text.anchor_paths(tree, Path.cwd())
    return parse(tree, where=str(source))


def parse(tree: dict[str, Json], *, where: str) -> Recipe:
    """A recipe from its plain tree.

    Raises:
        RecipeError: with `where`, the dotted path, the value and the mend.
    """
    recipe_text.check_version(tree, RECIPE_VERSION, where=where)
    try:
        return Recipe.model_validate(tree)
    except ValidationError as wrong:
        raise recipe_error(wrong, where=where, valid=_keys_at(most_telling(wrong)["loc"])) from None


def _keys_at(location: tuple[int | str, ...]) -> list[str]:
    """Keys that are valid where a validation complained, for its message."""
    model: Any = Recipe
    for part in location[:-1]:
        if isinstance(part, int):
            continue
        annotation = model.model_fields[part].annotation
        nested = [annotation, *getattr(annotation, "__args__", ())]
        model = next((kind for kind in nested if isinstance(kind, type) and issubclass(kind, Record)), None)
        if model is None:
            return []
    return list(model.model_fields)
