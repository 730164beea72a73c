"""The schema of a recipe: its sections, their bounds, and how a recipe is loaded.

In scope: the shape of a recipe file, overrides. Out of scope: what its names stand for (the registries know),
torch, the network, any file but the recipe.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, ValidationError, model_validator

from calkd_edge.recipe import source
from calkd_edge.recipe.training import Choice, DistillSection, ModelSection, Section, TeacherTrainingSection
from calkd_edge.records import Count, Json, Record, gate_label
from calkd_edge.registry import most_telling, recipe_error, strictly

RECIPE_VERSION = 1

Corruption = Literal["brightness", "blur", "noise", "jpeg"]
Threshold = Annotated[float, Field(gt=0, lt=1)]


class DataSection(Choice):
    """Which images, and how they are split; further keys belong to the data set."""

    root: str | None = None
    calibration_images: Count = Field(ge=20)
    train_images: Count | None = Field(None, ge=1)
    test_images: Count | None = Field(None, ge=1)
    drop_duplicates: bool = False
    broken: Literal["refuse", "skip"] = "refuse"
    cache: Literal["memory", "disk", "none"] = "disk"
    balance: Literal["none", "sampler"] = "none"
    """sampler: each class is drawn equally often in training; calibration and test stay as they are."""
    augmentation: Choice = Choice(name="crop_pad")


FLOAT16_QDQ = 19
"""The first opset in which QuantizeLinear and DequantizeLinear know float16."""


class ExportSection(Section):
    """The ONNX file."""

    opset: int = Field(20, ge=18, le=20)


class CalibrateSection(Section):
    """Whose logits the shipped calibration is fitted to, and which other maps are measured beside it."""

    on: str = "local"
    compare: tuple[Choice, ...] = ()


class PrecisionTarget(Section):
    """Instead of a threshold: the share of right answers that the lowest threshold shall guarantee."""

    precision: Threshold


def _kind_of_threshold(value: object) -> str:
    return "<target>" if isinstance(value, Mapping | PrecisionTarget) else "<number>"


ThresholdOrTarget = Annotated[
    Annotated[Threshold, Tag("<number>")] | Annotated[PrecisionTarget, Tag("<target>")],
    Discriminator(_kind_of_threshold),
]
"""The tags are no keys of a recipe: `registry.errors` leaves what is in angle brackets out of a path."""


class UnknownSection(Choice):
    """A data set whose images show none of the classes; further keys belong to it, as in `data`.

    `image_size` and `resize` are those of the data where it has them and they are not written.
    """

    root: str | None = None
    images: Count = Field(500, ge=20)


class EvaluateSection(Section):
    """How much of the test split is scored (None: all), at which thresholds, and on which other images.

    `unknown` are images of no class: how often a model is confident there.
    """

    images: Count | None = Field(None, ge=1)
    thresholds: tuple[ThresholdOrTarget, ...] = (0.5, 0.8, 0.9)
    corruptions: tuple[Corruption, ...] = ("brightness", "blur", "noise", "jpeg")
    corrupted_images: Count = Field(500, ge=2)
    unknown: UnknownSection | None = None


class BenchmarkSection(Section):
    """How latency is measured. quick: 3 new processes of 1 s and 350 runs; standard: of 60 s and 1,024."""

    profile: Literal["quick", "standard"] = "quick"
    threads: Count = Field(1, ge=1)
    min_runs: Count | None = Field(None, ge=10)
    min_seconds: float | None = Field(None, gt=0, le=604800)
    max_age_days: float = Field(7.0, gt=0, le=36500)


class DeviceSection(Section):
    """A device by name, the runtime to use on it, and the options of that runtime.

    Where it is, and which program runs there, stands in the user's inventory: a recipe is data.
    """

    name: str
    runtime: str = "onnxruntime"
    options: dict[str, Json] = Field(default_factory=dict)

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
    threshold: Threshold | None = None
    of_class: str | None = None

    @model_validator(mode="after")
    def _exactly_one_limit(self) -> GateSection:
        if sum(limit is not None for limit in (self.max, self.min, self.within)) != 1:
            raise ValueError("a gate has exactly one of max, min and within")
        return self

    @property
    def label(self) -> str:
        """Its name in sentences."""
        return gate_label(self.metric, self.of_class, self.threshold)


class Recipe(Section):
    """A complete recipe, every default filled in."""

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

    @property
    def calibration_device(self) -> DeviceSection:
        """The device whose predictions the calibration is fitted to, with the runtime named first there."""
        return next(device for device in self.devices if device.name == self.calibrate.on)

    @property
    def thresholds(self) -> tuple[float, ...]:
        """Every threshold that the recipe names, in its sections or in a gate, in order."""
        of_gates = (gate.threshold for gate in self.gates if gate.threshold is not None)
        written = (one for one in self.evaluate.thresholds if isinstance(one, float))
        return tuple(sorted({*written, *of_gates}))

    @property
    def precision_targets(self) -> tuple[float, ...]:
        """Every precision whose lowest threshold is wanted, in order."""
        targets = (one for one in self.evaluate.thresholds if isinstance(one, PrecisionTarget))
        return tuple(sorted({target.precision for target in targets}))

    @model_validator(mode="after")
    def _parts_fit_together(self) -> Recipe:
        if (self.teacher.weights is None) == (self.teacher_training is None):
            raise ValueError("give teacher_training (train it here) or teacher.weights (a file): exactly one")
        names = [precision.name for precision in self.precisions]
        if "fp32" not in names:
            raise ValueError("precisions must contain fp32: the others are compared with it")
        if len(set(names)) != len(names):
            raise ValueError(f"precisions has an entry twice: {', '.join(names)}")
        if self.export.opset < FLOAT16_QDQ and "int8_fp16" in names:
            raise ValueError(
                f"int8_fp16 quantizes float16 values, which ONNX has from opset {FLOAT16_QDQ} on: remove "
                "export.opset, or remove int8_fp16 from precisions"
            )
        labels = [device.label for device in self.devices]
        if len(set(labels)) != len(labels):
            raise ValueError(f"devices has an entry twice: {', '.join(labels)}")
        if self.student.weights is not None:
            raise ValueError("student.weights: the student is trained here; use student.pretrained: FILE")
        for name, model, training in (
            ("teacher", self.teacher, self.teacher_training),
            ("student", self.student, self.distill),
        ):
            if training is not None and model.freeze_epochs > training.epochs:
                raise ValueError(f"{name}.freeze_epochs exceeds the {training.epochs} epochs of its training")
        return self


def load_recipe(name_or_path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe of a file or a packaged name, with `a.b=c` overrides applied, checked completely.

    Args:
        name_or_path: a path, else the name of a packaged recipe with or without `.yaml`.
        overrides: dotted assignments; values are YAML. Paths in them are relative to the working directory,
            paths in the file to the file.

    Raises:
        RecipeError: not found, not YAML, or not a valid recipe.
    """
    path = source.find(name_or_path)
    tree = source.read(path)
    source.anchor_paths(tree, path.parent)
    for override in overrides:
        source.assign(tree, override)
    source.anchor_paths(tree, Path.cwd())
    return parse(tree, where=str(path))


def parse(tree: dict[str, Json], *, where: str) -> Recipe:
    """A recipe from its plain tree.

    Raises:
        RecipeError: with `where`, the dotted path, the value and the fix.
    """
    source.check_version(tree, RECIPE_VERSION, where=where)
    source.check_places(tree, where=where)
    try:
        return strictly(Recipe, tree)
    except ValidationError as wrong:
        raise recipe_error(wrong, where=where, valid=_keys_at(most_telling(wrong)["loc"])) from None


def _keys_at(location: tuple[int | str, ...]) -> list[str]:
    """Keys that are valid at the location of a complaint, for its message."""
    model: Any = Recipe
    for part in location[:-1]:
        if isinstance(part, int):
            continue
        annotation = model.model_fields[part].annotation
        nested = [annotation, *getattr(annotation, "__args__", ())]
        # Not `type`: Python 3.10 takes tuple[int, ...] for one.
        records = (kind for kind in nested if isinstance(kind, type(Record)) and issubclass(kind, Record))
        model = next(records, None)
        if model is None:
            return []
    return list(model.model_fields)
