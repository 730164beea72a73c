"""plan(recipe) -> stages: the only file that knows the order of work.

teacher:  prepare -> teacher -> export -> predict raw -> calibrate -> predict -> evaluate, benchmark
                        |-> soft labels ------------------|
student:                                                  |-> distill -> export -> quantize[p]
                                                                |-> qat -> export -> quantize[int8_qat]
          quantize[p] -> predict raw[p]@d -> calibrate[p] -> predict[p]@d -> evaluate[p]@d, benchmark[p]@d
          (a device that compiles: build@d before each predict; one whose file is made here: convert;
          what rounds to integers: simulate before evaluate; on request, parity behind each export)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from calkd_edge.agent.runtimes import RUNTIMES
from calkd_edge.engine.stage import Stage
from calkd_edge.export.converters import converter_of
from calkd_edge.metrics.latency import PROCESSES
from calkd_edge.pipeline.checks import Checked
from calkd_edge.pipeline.plan_training import Maker, Trainings, versions
from calkd_edge.pipeline.planned import Measured, Model, Plan, in_order
from calkd_edge.quantization import CHOOSING, ROUNDED, TRAINED
from calkd_edge.recipe.schema import DeviceSection
from calkd_edge.records import DeviceFacts
from calkd_edge.stages import (
    benchmark,
    build,
    calibrate,
    compare,
    convert,
    evaluate,
    evaluate_corrupted,
    export,
    parity,
    predict,
    predict_corrupted,
    quantize,
    simulate,
)

BINS = 15


@dataclass(frozen=True)
class Planner:
    """What a plan rests on besides the recipe.

    Attributes:
        checked: the recipe, its names looked up.
        devices: what the probe saw, by device name.
        places: where the devices are, by name; never part of a fingerprint.
        accelerator: where to train; never part of a fingerprint.
        plugins: module -> SHA-256 of its file; part of every fingerprint that rests on code of one's own.
        debug_parity: whether exported files are held against torch layer by layer.
    """

    checked: Checked
    devices: Mapping[str, DeviceFacts]
    places: Mapping[str, Mapping[str, Any]]
    accelerator: str
    plugins: Mapping[str, str]
    debug_parity: bool = False

    @property
    def make(self) -> Maker:
        """Makes stages."""
        return Maker(self.plugins)

    def plan(self) -> Plan:
        """The whole plan; nothing is run."""
        recipe = self.checked.recipe
        trainings = Trainings(self.checked, self.accelerator, self.make)
        data = trainings.prepare()
        taught = trainings.teacher(data)
        file = taught if self.checked.teacher_is_file else trainings.export(taught, data, "teacher")
        teacher_fp32 = self._quantize(file, data, "teacher", "fp32", {})
        home = next(device for device in recipe.devices if device.name == recipe.calibrate.on)
        teacher_row = self._measure("teacher", "fp32", teacher_fp32, data, home, home)
        stored = trainings.soft_labels(taught, data)
        student = trainings.distill(data, taught, teacher_row.calibrate, stored)
        exported = trainings.export(student, data, "student")
        rows = []
        for precision in self.checked.precisions:
            name, settings, source = precision["name"], precision["settings"], exported
            if name in TRAINED:
                source = trainings.export(trainings.qat(student, settings), data, f"student-{name}")
            quantized = self._quantize(source, data, "student", name, settings)
            for device in recipe.devices:
                if device.name not in self.devices:  # skipped
                    continue
                rows.append(self._measure("student", name, quantized, data, home, device))
        control = trainings.control(data, taught, stored) if recipe.distill.control else None
        if control is not None:
            file = trainings.export(control, data, "control")
            fp32 = self._quantize(file, data, "control", "fp32", {})
            rows.append(self._measure("control", "fp32", fp32, data, home, home))
        measured = (teacher_row, *rows)
        # What trains comes first, what only measures last: a wrong recipe then shows early, a board late.
        asked = [] if stored is None else [stored]
        order = [data, taught, *teacher_row.stages[:2], *asked, student, exported]
        order += [stage for row in measured for stage in (*row.calibrate.ancestors(), *row.stages)]
        stages = self._with_parity(in_order(order)) if self.debug_parity else in_order(order)
        return Plan(self.checked, stages, measured, data, taught, student, control)

    def _with_parity(self, stages: Sequence[Stage]) -> tuple[Stage, ...]:
        """The stages, and behind each export one that holds its file against torch; nothing rests on it."""
        order: list[Stage] = []
        for stage in stages:
            order.append(stage)
            if stage.path == f"{export.__name__}:run":
                inputs = {**stage.inputs, "file": stage}
                name = stage.name.replace("export-", "parity-")
                order.append(self.make(name, parity.run, {"versions": versions("onnxruntime")}, inputs))
        return tuple(order)

    def _quantize(
        self, exported: Stage, data: Stage, what: str, precision: str, settings: Mapping[str, Any]
    ) -> Stage:
        params = {
            "precision": precision,
            "settings": dict(settings),
            "seed": self.checked.recipe.seed,
            "versions": versions("onnx", "onnxruntime"),
        }
        inputs = {"model": exported, "data": data}
        return self.make(f"quantize-{what}-{precision}", quantize.run, params, inputs)

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
        calibrated = self.make(f"calibrate-{name}", calibrate.run, fit, inputs)
        splits = {"calibration": None, "test": recipe.evaluate.images}
        final = self._predict(f"predict-{name}", calibrated, data, device, splits)
        scored = self.make(
            f"evaluate-{name}@{device.name}",
            evaluate.run,
            {"bins": BINS, "seed": recipe.seed, "thresholds": list(recipe.thresholds)},
            {
                "calibration": calibrated,
                "raw": raw,
                "final": final,
                **self._simulated(name, precision, calibrated),
            },
        )
        timed = self._benchmark(name, calibrated, data, device)
        shifted = compared = None
        if (model, device) == ("student", home):
            shifted = self._corrupted(name, calibrated, final, data, device)
            compared = self._compare(name, at_home, held_out=precision in CHOOSING)
        row = (raw, calibrated, final, scored, timed, shifted, compared)
        return Measured(model, precision, device, *row)

    def _simulated(self, name: str, precision: str, calibrated: Stage) -> dict[str, Stage]:
        """What a file that rounds to integers says as it is written: the same for every device."""
        if precision not in ROUNDED:
            return {}
        params = {"seed": self.checked.recipe.seed, "versions": versions("onnxruntime")}
        inputs = {"model": calibrated, "data": calibrated.inputs["model"].inputs["data"]}
        places = {"threads": self.checked.recipe.benchmark.threads}
        return {"simulated": self.make(f"simulate-{name}", simulate.run, params, inputs, places=places)}

    def _compare(self, name: str, predictions: Stage, *, held_out: bool) -> Stage | None:
        """Other maps on the same calibration images; none of them ships."""
        if not self.checked.compared:
            return None
        asked = {"methods": list(self.checked.compared), "bins": BINS, "seed": self.checked.recipe.seed}
        if held_out:
            asked["held_out"] = True
        return self.make(f"compare-{name}", compare.run, asked, {"predictions": predictions})

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
        predicted = self.make(
            f"predict-corrupted-{name}@{device.name}",
            predict_corrupted.run,
            {**self._on(device), **asked},
            self._run_there(model, device, data),
            places=self._place(device),
        )
        scored = {
            "bins": BINS,
            "seed": seed,
            "thresholds": list(self.checked.recipe.thresholds),
            "corruptions": list(section.corruptions),
        }
        return self.make(
            f"evaluate-corrupted-{name}@{device.name}",
            evaluate_corrupted.run,
            scored,
            {"predictions": predicted, "clean": final},
        )

    def _predict(
        self, name: str, model: Stage, data: Stage, device: DeviceSection, splits: Mapping[str, int | None]
    ) -> Stage:
        params = {**self._on(device), "splits": dict(splits), "seed": self.checked.recipe.seed}
        inputs = self._run_there(model, device, data)
        return self.make(f"{name}@{device.name}", predict.run, params, inputs, places=self._place(device))

    def _run_there(self, model: Stage, device: DeviceSection, data: Stage) -> dict[str, Stage]:
        """What a stage reads that runs a model's file on a device: where that compiles, its engine too.

        A file that the host converts is the same for every device.
        """
        inputs = {"model": model, "data": data}
        if RUNTIMES[device.runtime].is_converted:
            made_with = versions(*converter_of(device.runtime).packages, "onnx", "onnxruntime")
            params = {"runtime": device.runtime, "seed": self.checked.recipe.seed, "versions": made_with}
            name = model.name.replace("quantize-", "raw-").replace("calibrate-", "")
            inputs["converted"] = self.make(f"convert-{name}", convert.run, params, dict(inputs))
        if RUNTIMES[device.runtime].is_compiled:
            name = model.name.replace("quantize-", "raw-").replace("calibrate-", "")
            params = self._on(device)
            inputs["engine"] = self.make(
                f"build-{name}@{device.name}",
                build.run,
                params,
                {"model": model},
                places=self._place(device),
            )
        return inputs

    def _benchmark(self, name: str, model: Stage, data: Stage, device: DeviceSection) -> Stage:
        section = self.checked.recipe.benchmark
        params = {
            **self._on(device),
            "threads": section.threads,
            "seed": self.checked.recipe.seed,
            "profile": section.profile,
            "processes": PROCESSES[section.profile],
            "load": benchmark.load_of(section),
        }
        inputs = self._run_there(model, device, data)
        return self.make(
            f"benchmark-{name}@{device.name}",
            benchmark.run,
            params,
            inputs,
            places=self._place(device),
            measures=True,
        )

    def _place(self, device: DeviceSection) -> dict[str, Any]:
        """Where a stage finds its device; another address of the same board changes no result."""
        return {"device": dict(self.places[device.name])}

    def _on(self, device: DeviceSection) -> dict[str, Any]:
        """What of a device a result depends on; its clocks and temperatures are on record instead."""
        facts = self.devices[device.name]
        # A compiled engine has no threads of the processor to be given.
        threads = (
            {} if RUNTIMES[device.runtime].is_compiled else {"threads": self.checked.recipe.benchmark.threads}
        )
        told = facts.model_dump(mode="json", include={"board", "machine", "cpu", "isa", "l4t", "power_mode"})
        return {
            "device": device.name,
            "runtime": device.runtime,
            "runtime_version": facts.runtimes[device.runtime],
            "options": {**device.options, **threads},
            "on": told,
        }
