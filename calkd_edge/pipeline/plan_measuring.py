"""The stages that quantize, calibrate, score and time a model on a device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from calkd_edge.engine.stage import Stage
from calkd_edge.export.artifacts import runs_on_cpu
from calkd_edge.metrics.latency import LOADS, PROCESSES
from calkd_edge.pipeline.plan_device import BINS, DeviceStages, QuantizedModel
from calkd_edge.pipeline.plan_other_images import OtherImageStages
from calkd_edge.pipeline.plan_training import versions
from calkd_edge.pipeline.planned import MeasuredRow, Model
from calkd_edge.quantization.traits import traits_of
from calkd_edge.recipe.schema import BenchmarkSection, DeviceSection
from calkd_edge.records import Component, Json
from calkd_edge.stages.params import (
    BenchmarkParams,
    CalibrateParams,
    CompareParams,
    EvaluateParams,
    PredictParams,
    QuantizeParams,
    SimulateParams,
)


@dataclass(frozen=True)
class MeasuringStages(DeviceStages):
    """Makes the stages behind a row of the report."""

    def quantize(self, exported: Stage, data: Stage, model: Model, precision: Component) -> QuantizedModel:
        """A model's file in another precision."""
        params = QuantizeParams(
            precision=precision.name,
            settings=precision.settings,
            seed=self.checked.recipe.seed,
            versions=versions("onnx", "onnxruntime"),
            measures_values=traits_of(precision.name).rounds,
            fits_biases=traits_of(precision.name).rounds,
            hard_sigmoids_as_clips=model != "teacher" and precision.name != "fp16",
        )
        inputs = {"model": exported, "data": data}
        stage = self.make(f"quantize-{model}-{precision.name}", params, inputs)
        return QuantizedModel(model, precision.name, stage, data)

    def measure(self, quantized: QuantizedModel, device: DeviceSection) -> MeasuredRow:
        """Predictions, calibration (fitted at home), scores and times of a model on one device."""
        recipe, name = self.checked.recipe, quantized.name
        home = recipe.calibration_device
        raw = self._predict_raw(quantized, device)
        at_home = raw if device == home else self._predict_raw(quantized, home)
        calibrate = self._calibrate(quantized, at_home)
        final = self._predict(
            f"predict-{name}",
            calibrate,
            quantized.data,
            device,
            {"calibration": None, "test": recipe.evaluate.images},
            artifact=name,
        )
        simulated = self._simulate(quantized, calibrate, device)
        evaluate = self.make(
            f"evaluate-{name}@{device.name}",
            EvaluateParams(
                bins=BINS,
                seed=recipe.seed,
                thresholds=recipe.thresholds,
                guaranteed_precisions=recipe.precision_targets,
            ),
            {"calibration": calibrate, "raw": raw, "final": final, **simulated},
        )
        benchmark = self._benchmark(quantized, calibrate, device)
        others = OtherImageStages(self.checked, self.devices, self.locations, self.make)
        corrupted = compare = unknown = None
        if quantized.model == "student" and (device == home or others.are_judged):
            corrupted = others.corrupted(quantized, calibrate, final, device)
            unknown = others.unknown(quantized, calibrate, final, device)
        if (quantized.model, device) == ("student", home):
            compare = self._compare(quantized, at_home)
        return MeasuredRow(
            quantized.model,
            quantized.precision,
            device,
            raw,
            calibrate,
            final,
            evaluate,
            benchmark,
            corrupted,
            compare,
            unknown,
        )

    def _calibrate(self, quantized: QuantizedModel, predictions: Stage) -> Stage:
        inputs = {"predictions": predictions, "model": quantized.stage}
        source = quantized.stage.inputs["model"]
        if quantized.precision == "fp32" and source.name.startswith("export-"):
            inputs["reference"] = source
        calibrator = self.checked.calibrator
        params = CalibrateParams(
            calibrator=calibrator.name,
            settings=calibrator.settings,
            guaranteed_precisions=self.checked.recipe.precision_targets,
        )
        return self.make(f"calibrate-{quantized.name}", params, inputs)

    def _simulate(
        self, quantized: QuantizedModel, calibrate: Stage, device: DeviceSection
    ) -> dict[str, Stage]:
        """Predictions of the file that a device executes, computed as written, if it rounds to integers."""
        if not traits_of(quantized.precision).rounds:
            return {}
        for_cpu = runs_on_cpu(device.runtime, device.options)
        params = SimulateParams(
            for_cpu=for_cpu, seed=self.checked.recipe.seed, versions=versions("onnxruntime")
        )
        name = f"simulate-{quantized.name}{'-cpu' if for_cpu else ''}"
        inputs = {"model": calibrate, "data": quantized.data}
        locations: dict[str, Json] = {"threads": self.checked.recipe.benchmark.threads}
        return {"simulated": self.make(name, params, inputs, locations=locations)}

    def _compare(self, quantized: QuantizedModel, predictions: Stage) -> Stage | None:
        """Other maps on the same calibration images; none of them ships."""
        if not self.checked.compared:
            return None
        params = CompareParams(
            methods=self.checked.compared,
            bins=BINS,
            seed=self.checked.recipe.seed,
            held_out=traits_of(quantized.precision).chooses,
        )
        return self.make(f"compare-{quantized.name}", params, {"predictions": predictions})

    def _predict_raw(self, quantized: QuantizedModel, device: DeviceSection) -> Stage:
        """Predictions of the calibration split before any calibration."""
        name, artifact = f"predict-raw-{quantized.name}", f"raw-{quantized.name}"
        splits = {"calibration": None}
        return self._predict(name, quantized.stage, quantized.data, device, splits, artifact=artifact)

    def _predict(
        self,
        name: str,
        model: Stage,
        data: Stage,
        device: DeviceSection,
        splits: Mapping[str, int | None],
        *,
        artifact: str,
    ) -> Stage:
        params = PredictParams(
            **self.device_fields(device), splits=dict(splits), seed=self.checked.recipe.seed
        )
        inputs = self.inputs_on(device, model, data, artifact=artifact)
        return self.make_on(device, f"{name}@{device.name}", params, inputs)

    def _benchmark(self, quantized: QuantizedModel, model: Stage, device: DeviceSection) -> Stage:
        section = self.checked.recipe.benchmark
        params = BenchmarkParams(
            **self.device_fields(device),
            threads=section.threads,
            seed=self.checked.recipe.seed,
            profile=section.profile,
            processes=PROCESSES[section.profile],
            load=load_of(section),
        )
        inputs = self.inputs_on(device, model, quantized.data, artifact=quantized.name)
        name = f"benchmark-{quantized.name}@{device.name}"
        return self.make_on(device, name, params, inputs, measures=True)


def load_of(section: BenchmarkSection) -> dict[str, Json]:
    """Warm-up and minima of one process: the profile's, with the recipe's values where it gives them."""
    load: dict[str, Json] = dict(LOADS[section.profile])
    if section.min_runs is not None:
        load["min_runs"] = section.min_runs
    if section.min_seconds is not None:
        limits = LOADS[section.profile]
        load["min_seconds"] = section.min_seconds
        load["warmup_max_seconds"] = min(limits["warmup_max_seconds"], 5 * section.min_seconds)
        load["warmup_min_seconds"] = min(limits["warmup_min_seconds"], section.min_seconds)
        load["warmup_window_seconds"] = min(limits["warmup_window_seconds"], section.min_seconds / 4)
    return load
