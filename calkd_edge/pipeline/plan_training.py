"""The stages that train and export: data, teacher, soft labels, students, files."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from calkd_edge.engine.stage import Stage, StageFunction
from calkd_edge.pipeline.checks import Checked
from calkd_edge.recipe.training import ScheduleSection
from calkd_edge.stages import distill, export, onnx_teacher, prepare, qat, soft_labels, start, teacher

QAT_EPOCHS, QAT_RATE = 0.1, 0.01
"""Of the epochs and of the learning rate of distillation; about what H. Wu et al. (Integer Quantization
for Deep Learning Inference, arXiv 2004.09602) train on with."""


@dataclass(frozen=True)
class Maker:
    """Makes stages.

    Attributes:
        plugins: module -> SHA-256 of its file; part of every fingerprint that rests on code of one's own.
    """

    plugins: Mapping[str, str]

    def __call__(
        self,
        name: str,
        function: StageFunction,
        params: Mapping[str, Any],
        inputs: Mapping[str, Stage],
        **more: Any,
    ) -> Stage:
        """A stage with the version of its output, which its function's module keeps."""
        from_plugins = {"plugins": dict(self.plugins)} if self.plugins else {}
        version_of_output: int = sys.modules[function.__module__].VERSION
        return Stage(name, function, version_of_output, {**params, **from_plugins}, inputs, **more)


@dataclass(frozen=True)
class Trainings:
    """What learns, and the files of it.

    Attributes:
        checked: the recipe, its names looked up.
        accelerator: where to train; never part of a fingerprint.
        make: makes stages.
    """

    checked: Checked
    accelerator: str
    make: Maker

    def prepare(self) -> Stage:
        """The data as stages read it."""
        data = self.checked.recipe.data
        keys = ("calibration_images", "train_images", "test_images", "drop_duplicates", "broken")
        params = {
            "dataset": data.name,
            "settings": self.checked.named["data"]["settings"],
            "identity": self.checked.dataset.identity(),
            "splits": {**{key: getattr(data, key) for key in keys}, "seed": self.checked.recipe.seed},
        }
        return self.make("prepare", prepare.run, params, {}, locations={"root": data.root})

    def teacher(self, data: Stage) -> Stage:
        """The teacher, trained or taken as it is."""
        recipe = self.checked.recipe
        training = recipe.teacher_training
        params = {
            "model": self.checked.named["teacher"],
            "training": None if training is None else training.numbers,
            "augmentation": self.checked.named["augmentation"],
            "mixing": self.checked.named.get("teacher_training.mixing"),
            "seed": recipe.seed if training is None or training.seed is None else training.seed,
            **start.params_of(recipe.teacher, self.checked.named["teacher"]["settings"]),
        }
        places = {**self._training_places(), **start.places_of(recipe.teacher)}
        if self.checked.teacher_is_file:
            own = {key: params[key] for key in ("model", "weights_sha256", "trained_on")}
            return self.make("teacher", onnx_teacher.run, own, {"data": data}, locations=places)
        return self.make("teacher", teacher.run, params, {"data": data}, locations=places, parallel=True)

    def soft_labels(self, taught: Stage, data: Stage) -> Stage | None:
        """The teacher's answers, where they are stored."""
        if self.checked.teacher_mode != "stored":
            return None
        section = self.checked.recipe.distill.soft_labels
        params = {
            "views": self.checked.recipe.distill.views,
            "images_per_step": section.images_per_step,
            "augmentation": self.checked.named["augmentation"],
            "seed": self.checked.recipe.seed,
        }
        inputs = {"data": data, "teacher": taught}
        places = self._training_places()
        return self.make("soft-labels", soft_labels.run, params, inputs, locations=places, parallel=True)

    def control(self, data: Stage, taught: Stage, stored: Stage | None) -> Stage:
        """The same student, from the teacher as it was before its calibration."""
        return self.distill(data, taught, None, stored)

    def distill(self, data: Stage, taught: Stage, calibrated: Stage | None, stored: Stage | None) -> Stage:
        """The student; without `calibrated`, from the teacher as it is."""
        recipe = self.checked.recipe
        params = {
            "model": self.checked.named["student"],
            "training": recipe.distill.numbers,
            "losses": list(self.checked.losses),
            "augmentation": self.checked.named["augmentation"],
            "mixing": self.checked.named.get("distill.mixing"),
            "teacher_mode": self.checked.teacher_mode,
            "seed": recipe.seed if recipe.distill.seed is None else recipe.distill.seed,
            **start.params_of(recipe.student, self.checked.named["student"]["settings"]),
        }
        inputs = {"data": data, "teacher": taught}
        if calibrated is not None:
            inputs["calibration"] = calibrated
        if stored is not None:
            inputs["soft_labels"] = stored
        places = {**self._training_places(), **start.places_of(recipe.student)}
        name = "control" if calibrated is None else "distill"
        return self.make(name, distill.run, params, inputs, locations=places, parallel=True)

    def qat(self, student: Stage, settings: Mapping[str, Any]) -> Stage:
        """The student trained on, rounding as its int8 file will."""
        recipe = self.checked.recipe.distill
        rate = settings["lr"] or QAT_RATE * recipe.optimizer.lr
        section = recipe.model_copy(
            update={
                "epochs": settings["epochs"] or max(1, round(QAT_EPOCHS * recipe.epochs)),
                "optimizer": recipe.optimizer.model_copy(update={"lr": rate}),
                "schedule": ScheduleSection(name="cosine"),
                "sync_batch_norm": False,  # normalisation stays at its stored statistics
                "ema_decay": None,
                "autocast": None,  # bfloat16 between the layers would round where the file does not
            }
        )
        kept = ("losses", "augmentation", "mixing", "teacher_mode", "seed")
        params = {
            **{key: student.params[key] for key in kept},
            "training": section.numbers,
            **{key: settings[key] for key in ("ranges", "scales", "images")},
        }
        inputs = {**student.inputs, "student": student}
        return self.make("qat", qat.run, params, inputs, locations=self._training_places(), parallel=True)

    def _training_places(self) -> dict[str, Any]:
        return {"accelerator": self.accelerator, "cache": self.checked.recipe.data.cache}

    def export(self, model: Stage, data: Stage, what: str) -> Stage:
        """The ONNX file of a network."""
        params = {
            "opset": self.checked.recipe.export.opset,
            "package_version": version("calkd-edge"),
            "lineage": model.fingerprint,
            "versions": versions("torch", "onnx", "onnxscript"),
        }
        return self.make(f"export-{what}", export.run, params, {"model": model, "data": data})


def versions(*packages: str) -> dict[str, str]:
    """Of installed packages, for a fingerprint."""
    return {package: version(package) for package in packages}
