"""The stages that train and export: data, teacher, soft labels, students, files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from calkd_edge.data.prepare import fingerprinted
from calkd_edge.engine.stage import Stage
from calkd_edge.files import sha256_of
from calkd_edge.losses import LOSSES
from calkd_edge.models import pretrained
from calkd_edge.models.image_model import description_beside
from calkd_edge.onnx_model.read import content_sha256
from calkd_edge.pipeline.checks import CheckedRecipe
from calkd_edge.pipeline.planned import PlannedTraining
from calkd_edge.recipe.schema import DataSection
from calkd_edge.recipe.training import DistillSection, ModelSection, ScheduleSection
from calkd_edge.records import Component, Json, LossComponent, WeightsFacts
from calkd_edge.stages.params import (
    DistillParams,
    ExportParams,
    OnnxTeacherParams,
    PrepareParams,
    QatParams,
    SoftLabelsParams,
    SplitParams,
    StageParams,
    TeacherMode,
    TeacherParams,
)

QAT_EPOCHS, QAT_RATE = 0.1, 0.01
"""Shares of the epochs and of the learning rate of distillation; about those of H. Wu et al. (Integer
Quantization for Deep Learning Inference, arXiv 2004.09602)."""

NEW_HEAD_SCALE = 0.01
"""Of the initial parameters of a head behind pretrained layers: the first probabilities are nearly equal."""


@dataclass(frozen=True)
class StageMaker:
    """Makes stages from their parameters.

    Attributes:
        plugins: module -> SHA-256 of its file; part of every fingerprint that depends on plugin code.
    """

    plugins: Mapping[str, str]

    def __call__(
        self,
        name: str,
        params: StageParams,
        inputs: Mapping[str, Stage],
        *,
        locations: Mapping[str, Json] | None = None,
        parallel: bool = False,
        measures: bool = False,
        resource: str = "",
    ) -> Stage:
        """A stage with the function and the version that its parameters name."""
        plain = params.model_copy(update={"plugins": dict(self.plugins)}).plain()
        return Stage(
            name,
            params.function,
            params.version,
            plain,
            inputs,
            locations=locations or {},
            parallel=parallel,
            measures=measures,
            resource=resource,
        )


@dataclass(frozen=True)
class TrainingStages:
    """Makes the stages that train networks and export them.

    Attributes:
        checked: the recipe with its components.
        accelerator: where to train; never part of a fingerprint.
        make: makes stages.
        trainings: every stage made here that trains a network.
    """

    checked: CheckedRecipe
    accelerator: str
    make: StageMaker
    trainings: list[PlannedTraining] = field(default_factory=list)

    def prepare(self) -> Stage:
        """The data set as stages read it."""
        data = self.checked.recipe.data
        splits = SplitParams(
            calibration_images=data.calibration_images,
            train_images=data.train_images,
            test_images=data.test_images,
            drop_duplicates=data.drop_duplicates,
            broken=data.broken,
            seed=self.checked.recipe.seed,
        )
        params = PrepareParams(
            dataset=data.name,
            settings=fingerprinted(self.checked.data.settings),
            identity=self.checked.dataset.identity(),
            splits=splits,
            distinct_test_images=data.drop_duplicates,
        )
        return self.make("prepare", params, {}, locations={"root": data.root})

    def teacher(self, data: Stage) -> Stage:
        """The teacher, trained here or taken from a file."""
        recipe, model = self.checked.recipe, self.checked.teacher
        section = recipe.teacher_training
        locations = {**self._training_locations(), **start_locations(recipe.teacher)}
        if self.checked.teacher_is_file:
            from_file = OnnxTeacherParams(
                model=model,
                weights_sha256=content_sha256(Path(str(recipe.teacher.weights))),
                trained_on=recipe.teacher.trained_on or "train",
                orders_classes=True,
            )
            return self.make("teacher", from_file, {"data": data}, locations=locations)
        params = TeacherParams(
            model=model,
            training=None if section is None else section.numbers,
            chooses_batch_norm=section is not None and section.measure_batch_norm,
            augmentation=self.checked.augmentation,
            mixing=self.checked.teacher_mixing,
            seed=recipe.seed if section is None or section.seed is None else section.seed,
            **_drawn(recipe.data),
            **start_fields(recipe.teacher, model),
        )
        stage = self.make("teacher", params, {"data": data}, locations=locations, parallel=True)
        if section is not None:
            self.trainings.append(PlannedTraining(stage, section, model))
        return stage

    def soft_labels(self, teacher: Stage, data: Stage) -> Stage | None:
        """The teacher's stored logits; None when they are not stored."""
        if self.checked.teacher_mode != "stored":
            return None
        distill = self.checked.recipe.distill
        params = SoftLabelsParams(
            views=distill.views,
            images_per_step=distill.soft_labels.images_per_step,
            augmentation=self.checked.augmentation,
            seed=self.checked.recipe.seed,
            top=distill.soft_labels.top,
        )
        inputs = {"data": data, "teacher": teacher}
        locations = self._training_locations()
        return self.make("soft-labels", params, inputs, locations=locations, parallel=True)

    def distill(
        self, data: Stage, teacher: Stage, calibrate: Stage | None, soft_labels: Stage | None
    ) -> Stage:
        """The student; without `calibrate` the control, taught by the uncalibrated teacher."""
        inputs = {"data": data, "teacher": teacher}
        if calibrate is not None:
            inputs["calibration"] = calibrate
        if soft_labels is not None:
            inputs["soft_labels"] = soft_labels
        name = "control" if calibrate is None else "distill"
        return self._student(name, inputs, self.checked.losses, self.checked.teacher_mode)

    def baseline(self, data: Stage) -> Stage:
        """The same student in the same epochs, from labels alone."""
        settings = LOSSES.settings("cross_entropy", {}, where="distill.baseline")
        labels_alone = (LossComponent(name="cross_entropy", weight=1.0, settings=settings),)
        return self._student("baseline", {"data": data}, labels_alone, "none")

    def _student(
        self, name: str, inputs: Mapping[str, Stage], losses: tuple[LossComponent, ...], mode: TeacherMode
    ) -> Stage:
        recipe, model = self.checked.recipe, self.checked.student
        params = DistillParams(
            model=model,
            training=recipe.distill.numbers,
            chooses_batch_norm=recipe.distill.measure_batch_norm,
            losses=losses,
            augmentation=self.checked.augmentation,
            mixing=self.checked.distill_mixing,
            teacher_mode=mode,
            seed=recipe.seed if recipe.distill.seed is None else recipe.distill.seed,
            **_drawn(recipe.data),
            **start_fields(recipe.student, model),
        )
        locations = {**self._training_locations(), **start_locations(recipe.student)}
        stage = self.make(name, params, inputs, locations=locations, parallel=True)
        self.trainings.append(PlannedTraining(stage, recipe.distill, model))
        return stage

    def qat(self, student: Stage, settings: Mapping[str, Json]) -> Stage:
        """Quantization-aware training that continues from the student."""
        recipe = self.checked.recipe
        section = _qat_section(recipe.distill, settings)
        params = QatParams(
            losses=self.checked.losses,
            augmentation=self.checked.augmentation,
            mixing=self.checked.distill_mixing,
            teacher_mode=self.checked.teacher_mode,
            seed=recipe.seed if recipe.distill.seed is None else recipe.distill.seed,
            **_drawn(recipe.data),
            training=section.numbers,
            **{key: settings[key] for key in ("ranges", "scales", "images")},
        )
        inputs = {**student.inputs, "student": student}
        stage = self.make("qat", params, inputs, locations=self._training_locations(), parallel=True)
        self.trainings.append(PlannedTraining(stage, section, self.checked.student))
        return stage

    def _training_locations(self) -> dict[str, Json]:
        return {"accelerator": self.accelerator, "cache": self.checked.recipe.data.cache}

    def export(self, model: Stage, data: Stage, what: str) -> Stage:
        """The ONNX file of a network."""
        params = ExportParams(
            opset=self.checked.recipe.export.opset,
            package_version=version("calkd-edge"),
            lineage=model.fingerprint,
            versions=versions("torch", "onnx", "onnxscript"),
        )
        return self.make(f"export-{what}", params, {"model": model, "data": data})


def _qat_section(distill: DistillSection, settings: Mapping[str, Json]) -> DistillSection:
    """Distillation as a short continuation at a low rate, at the stored batch statistics."""
    epochs = settings["epochs"] or max(1, round(QAT_EPOCHS * distill.epochs))
    rate = settings["lr"] or QAT_RATE * distill.optimizer.lr
    return distill.model_copy(
        update={
            "epochs": epochs,
            "optimizer": distill.optimizer.model_copy(update={"lr": rate}),
            "schedule": ScheduleSection(name="cosine"),
            "sync_batch_norm": False,  # normalisation stays at its stored statistics
            "ema_decay": None,
            "autocast": None,  # bfloat16 between the layers would round where the file does not
        }
    )


def _drawn(data: DataSection) -> dict[str, Json]:
    """The fields of EpochParams on how often each class is drawn."""
    is_balanced = data.balance == "sampler"
    return {
        "balance": data.balance,
        "batch_norm": "drawn_images" if is_balanced else "all_images",
        "mixes_classes": is_balanced,
    }


def start_fields(section: ModelSection, model: Component) -> dict[str, Json]:
    """The fields of StartParams for a recipe's section: files by their content, not by their location."""
    identity = None
    if section.pretrained is True:
        identity = pretrained.published(section.name, model.settings, "").identity
    elif section.pretrained is not None:
        identity = sha256_of(Path(section.pretrained))
    beside = _facts_beside(section)
    return {
        "weights_sha256": None if section.weights is None else sha256_of(Path(section.weights)),
        "pretrained": identity,
        "freeze_epochs": section.freeze_epochs,
        "trained_on": section.trained_on,
        "mean": section.mean,  # type: ignore[dict-item]  # a tuple is a list in JSON
        "std": section.std,  # type: ignore[dict-item]
        "head_scale": 1.0 if identity is None else NEW_HEAD_SCALE,
        "beside": None if beside is None else beside.model_dump(mode="json"),
    }


def _facts_beside(section: ModelSection) -> WeightsFacts | None:
    """What the model.json beside a weights file says and the recipe does not; None where that is nothing."""
    file = section.weights or section.pretrained
    described = description_beside(Path(file)) if isinstance(file, str) else None
    if described is None:
        return None
    keys = [] if section.weights is None else ["classes"]  # a pretrained network gets the data's
    keys += [] if section.mean is not None else ["mean", "std"]
    return WeightsFacts(**described.model_dump(include=set(keys))) if keys else None


def start_locations(section: ModelSection) -> dict[str, Json]:
    """Where a training stage reads the files that StartParams names by their content."""
    return {"weights": section.weights, "pretrained": section.pretrained}


def versions(*packages: str) -> dict[str, str]:
    """Versions of installed packages, for a fingerprint."""
    return {package: version(package) for package in packages}
