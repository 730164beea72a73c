"""plan(recipe) -> stages: the only file that knows the order of work.

teacher:  prepare -> teacher -> export -> predict raw -> calibrate -> predict -> evaluate, benchmark
                        |-> soft labels ------------------|
student:                                                  |-> distill -> export -> quantize[p]
          quantize[p] -> predict raw[p]@d -> calibrate[p] -> predict[p]@d -> evaluate[p]@d, benchmark[p]@d
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from calkd_edge.checked import Checked
from calkd_edge.engine.stage import Stage, StageFunction
from calkd_edge.planned import Measured, Model, Plan, in_order
from calkd_edge.recipe import DeviceSection
from calkd_edge.records import DeviceFacts
from calkd_edge.stages import (
    benchmark,
    calibrate,
    compare,
    distill,
    evaluate,
    evaluate_corrupted,
    export,
    onnx_teacher,
    predict,
    predict_corrupted,
    prepare,
    quantize,
    soft_labels,
    start,
    teacher,
)

BINS = 15


@dataclass(frozen=True)
class Planner:
    """What a plan rests on besides the recipe.

    Attributes:
        checked: the recipe, its names looked up.
        devices: what the probe saw, by device name.
        accelerator: where to train; never part of a fingerprint.
        plugins: module -> SHA-256 of its file; part of every fingerprint that rests on code of one's own.
    """

    checked: Checked
    devices: Mapping[str, DeviceFacts]
    accelerator: str
    plugins: Mapping[str, str]

    def plan(self) -> Plan:
        """The whole plan; nothing is run."""
        recipe = self.checked.recipe
        data = self._prepare()
        taught = self._teacher(data)
        file = taught if self.checked.teacher_is_file else self._export(taught, data, "teacher")
        teacher_fp32 = self._quantize(file, data, "teacher", "fp32", {})
        home = next(device for device in recipe.devices if device.name == recipe.calibrate.on)
        teacher_row = self._measure("teacher", "fp32", teacher_fp32, data, home, home)
        stored = self._soft_labels(taught, data)
        student = self._distill(data, taught, teacher_row.calibrate, stored)
        exported = self._export(student, data, "student")
        rows = []
        for precision in self.checked.precisions:
            quantized = self._quantize(exported, data, "student", precision["name"], precision["settings"])
            for device in recipe.devices:
                if device.name not in self.devices:  # skipped
                    continue
                rows.append(self._measure("student", precision["name"], quantized, data, home, device))
        control = self._control(data, taught, stored) if recipe.distill.control else None
        if control is not None:
            file = self._export(control, data, "control")
            fp32 = self._quantize(file, data, "control", "fp32", {})
            rows.append(self._measure("control", "fp32", fp32, data, home, home))
        measured = (teacher_row, *rows)
        # What trains comes first, what only measures last: a wrong recipe then shows early, a board late.
        asked = [] if stored is None else [stored]
        order = [data, taught, *teacher_row.stages[:2], *asked, student, exported]
        order += [stage for row in measured for stage in (*row.calibrate.ancestors(), *row.stages)]
        return Plan(self.checked, in_order(order), measured, data, taught, student, control)

    def _stage(
        self,
        name: str,
        function: StageFunction,
        params: Mapping[str, Any],
        inputs: Mapping[str, Stage],
        **more: Any,
    ) -> Stage:
        from_plugins = {"plugins": dict(self.plugins)} if self.plugins else {}
        version_of_output: int = sys.modules[function.__module__].VERSION
        return Stage(name, function, version_of_output, {**params, **from_plugins}, inputs, **more)

    def _prepare(self) -> Stage:
        data = self.checked.recipe.data
        keys = ("calibration_images", "train_images", "test_images", "drop_duplicates", "broken")
        params = {
            "dataset": data.name,
            "settings": self.checked.named["data"]["settings"],
            "identity": self.checked.dataset.identity(),
            "splits": {**{key: getattr(data, key) for key in keys}, "seed": self.checked.recipe.seed},
        }
        return self._stage("prepare", prepare.run, params, {}, places={"root": data.root})

    def _teacher(self, data: Stage) -> Stage:
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
            return self._stage("teacher", onnx_teacher.run, own, {"data": data}, places=places)
        return self._stage("teacher", teacher.run, params, {"data": data}, places=places, parallel=True)

    def _soft_labels(self, taught: Stage, data: Stage) -> Stage | None:
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
        return self._stage("soft-labels", soft_labels.run, params, inputs, places=places, parallel=True)

    def _control(self, data: Stage, taught: Stage, stored: Stage | None) -> Stage:
        """The same student, from the teacher as it was before its calibration."""
        return self._distill(data, taught, None, stored)

    def _distill(self, data: Stage, taught: Stage, calibrated: Stage | None, stored: Stage | None) -> Stage:
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
        return self._stage(name, distill.run, params, inputs, places=places, parallel=True)

    def _training_places(self) -> dict[str, Any]:
        return {"accelerator": self.accelerator, "cache": self.checked.recipe.data.cache}

    def _export(self, model: Stage, data: Stage, what: str) -> Stage:
        params = {
            "opset": self.checked.recipe.export.opset,
            "package_version": version("calkd-edge"),
            "lineage": model.fingerprint,
            "versions": _versions("torch", "onnx", "onnxscript"),
        }
        return self._stage(f"export-{what}", export.run, params, {"model": model, "data": data})

    def _quantize(
        self, exported: Stage, data: Stage, what: str, precision: str, settings: Mapping[str, Any]
    ) -> Stage:
        params = {
            "precision": precision,
            "settings": dict(settings),
            "seed": self.checked.recipe.seed,
            "versions": _versions("onnx", "onnxruntime"),
        }
        inputs = {"model": exported, "data": data}
        return self._stage(f"quantize-{what}-{precision}", quantize.run, params, inputs)

    def _measure(
        self,
        model: Model,
        precision: str,
        quantized: Stage,
        data: Stage,
        home: DeviceSection,
        device: DeviceSection,
    ) -> Measured:
        """Raw predictions, calibration (fitted at home), final predictions, scores, times: on one device."""
        recipe = self.checked.recipe
        name = f"{model}-{precision}"
        all_images = {"calibration": None}
        raw = self._predict(f"predict-raw-{name}", quantized, data, device, all_images)
        at_home = (
            raw if device == home else self._predict(f"predict-raw-{name}", quantized, data, home, all_images)
        )
        inputs = {"predictions": at_home, "model": quantized}
        if precision == "fp32" and quantized.inputs["model"].name.startswith("export-"):
            inputs["reference"] = quantized.inputs["model"]
        chosen = self.checked.named["calibrator"]
        fit = {"calibrator": chosen["name"], "settings": chosen["settings"]}
        calibrated = self._stage(f"calibrate-{name}", calibrate.run, fit, inputs)
        splits = {"calibration": None, "test": recipe.evaluate.images}
        final = self._predict(f"predict-{name}", calibrated, data, device, splits)
        scored = self._stage(
            f"evaluate-{name}@{device.name}",
            evaluate.run,
            {"bins": BINS, "seed": recipe.seed, "thresholds": list(recipe.thresholds)},
            {"calibration": calibrated, "raw": raw, "final": final},
        )
        timed = self._benchmark(name, calibrated, data, device)
        shifted = compared = None
        if (model, device) == ("student", home):
            shifted = self._corrupted(name, calibrated, final, data, device)
            compared = self._compare(name, at_home)
        row = (raw, calibrated, final, scored, timed, shifted, compared)
        return Measured(model, precision, device, *row)

    def _compare(self, name: str, predictions: Stage) -> Stage | None:
        """Other maps on the same calibration images; none of them ships."""
        if not self.checked.compared:
            return None
        asked = {"methods": list(self.checked.compared), "bins": BINS, "seed": self.checked.recipe.seed}
        return self._stage(f"compare-{name}", compare.run, asked, {"predictions": predictions})

    def _corrupted(
        self, name: str, model: Stage, final: Stage, data: Stage, device: DeviceSection
    ) -> Stage | None:
        """What the shipped file says of corrupted test images; asked of one device, for it is no gate."""
        section = self.checked.recipe.evaluate
        if not section.corruptions:
            return None
        seed = self.checked.recipe.seed
        asked = {"corruptions": list(section.corruptions), "images": section.corrupted_images, "seed": seed}
        asked["pillow"] = version("pillow")  # which draws them, and encodes JPEG
        predicted = self._stage(
            f"predict-corrupted-{name}@{device.name}",
            predict_corrupted.run,
            {**self._on(device), **asked},
            {"model": model, "data": data},
        )
        scored = {
            "bins": BINS,
            "seed": seed,
            "thresholds": list(self.checked.recipe.thresholds),
            "corruptions": list(section.corruptions),
        }
        return self._stage(
            f"evaluate-corrupted-{name}@{device.name}",
            evaluate_corrupted.run,
            scored,
            {"predictions": predicted, "clean": final},
        )

    def _predict(
        self, name: str, model: Stage, data: Stage, device: DeviceSection, splits: Mapping[str, int | None]
    ) -> Stage:
        params = {**self._on(device), "splits": dict(splits), "seed": self.checked.recipe.seed}
        return self._stage(f"{name}@{device.name}", predict.run, params, {"model": model, "data": data})

    def _benchmark(self, name: str, model: Stage, data: Stage, device: DeviceSection) -> Stage:
        section = self.checked.recipe.benchmark
        params = {
            **self._on(device),
            "seed": self.checked.recipe.seed,
            "profile": section.profile,
            "processes": benchmark.PROCESSES[section.profile],
            "load": benchmark.load_of(section),
        }
        inputs = {"model": model, "data": data}
        return self._stage(f"benchmark-{name}@{device.name}", benchmark.run, params, inputs, measures=True)

    def _on(self, device: DeviceSection) -> dict[str, Any]:
        """What of a device a result depends on; its clocks and temperatures are on record instead."""
        facts = self.devices[device.name]
        told = facts.model_dump(mode="json", include={"board", "machine", "cpu", "isa", "l4t", "power_mode"})
        return {
            "device": device.name,
            "runtime": device.runtime,
            "runtime_version": facts.runtimes[device.runtime],
            "options": {"threads": self.checked.recipe.benchmark.threads},
            "on": told,
        }


def _versions(*packages: str) -> dict[str, str]:
    return {package: version(package) for package in packages}
