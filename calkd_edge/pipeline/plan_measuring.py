"""The stages that quantize, calibrate, score and time a model on a device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version

from calkd_edge.agent.runtimes import RUNTIMES
from calkd_edge.engine.stage import Stage
from calkd_edge.metrics.latency import LOADS, PROCESSES
from calkd_edge.pipeline.checks import CheckedRecipe
from calkd_edge.pipeline.plan_training import StageMaker, versions
from calkd_edge.pipeline.planned import MeasuredRow, Model
from calkd_edge.quantization.traits import traits_of
from calkd_edge.recipe.schema import BenchmarkSection, DeviceSection
from calkd_edge.records import Component, DeviceFacts, Json
from calkd_edge.stages.params import (
    BenchmarkParams,
    BuildParams,
    CalibrateParams,
    CompareParams,
    ConvertParams,
    DeviceParams,
    EvaluateCorruptedParams,
    EvaluateParams,
    PredictCorruptedParams,
    PredictParams,
    QuantizeParams,
    SimulateParams,
)

BINS = 15


@dataclass(frozen=True)
class QuantizedModel:
    """A model in one precision, before its calibration.

    Attributes:
        model: whose file it is.
        precision: its name.
        stage: the stage that quantizes.
        data: the stage that prepares the data.
    """

    model: Model
    precision: str
    stage: Stage
    data: Stage

    @property
    def name(self) -> str:
        """Model and precision, as stages and files name them."""
        return f"{self.model}-{self.precision}"


@dataclass(frozen=True)
class MeasuringStages:
    """Makes the stages behind a row of the report.

    Attributes:
        checked: the recipe with its components.
        devices: what the probe returned, by device name.
        locations: where the devices are, by name; never part of a fingerprint.
        make: makes stages.
    """

    checked: CheckedRecipe
    devices: Mapping[str, DeviceFacts]
    locations: Mapping[str, Mapping[str, Json]]
    make: StageMaker

    @property
    def home(self) -> DeviceSection:
        """The device whose predictions the calibration is fitted to."""
        recipe = self.checked.recipe
        return next(device for device in recipe.devices if device.name == recipe.calibrate.on)

    def quantize(self, exported: Stage, data: Stage, model: Model, precision: Component) -> QuantizedModel:
        """A model's file in another precision."""
        params = QuantizeParams(
            precision=precision.name,
            settings=precision.settings,
            seed=self.checked.recipe.seed,
            versions=versions("onnx", "onnxruntime"),
        )
        inputs = {"model": exported, "data": data}
        stage = self.make(f"quantize-{model}-{precision.name}", params, inputs)
        return QuantizedModel(model, precision.name, stage, data)

    def measure(self, quantized: QuantizedModel, device: DeviceSection) -> MeasuredRow:
        """Predictions, calibration (fitted at home), scores and times of a model on one device."""
        recipe, name, home = self.checked.recipe, quantized.name, self.home
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
        simulated = self._simulate(quantized, calibrate)
        evaluate = self.make(
            f"evaluate-{name}@{device.name}",
            EvaluateParams(
                bins=BINS,
                seed=recipe.seed,
                thresholds=recipe.thresholds,
                precision_targets=recipe.precision_targets,
            ),
            {"calibration": calibrate, "raw": raw, "final": final, **simulated},
        )
        benchmark = self._benchmark(quantized, calibrate, device)
        corrupted = compare = None
        if (quantized.model, device) == ("student", home):
            corrupted = self._corrupted(quantized, calibrate, final, device)
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
            precision_targets=self.checked.recipe.precision_targets,
        )
        return self.make(f"calibrate-{quantized.name}", params, inputs)

    def _simulate(self, quantized: QuantizedModel, calibrate: Stage) -> dict[str, Stage]:
        """Predictions of a file that rounds to integers, computed as written: the same for every device."""
        if not traits_of(quantized.precision).rounds:
            return {}
        params = SimulateParams(seed=self.checked.recipe.seed, versions=versions("onnxruntime"))
        inputs = {"model": calibrate, "data": quantized.data}
        locations: dict[str, Json] = {"threads": self.checked.recipe.benchmark.threads}
        return {"simulated": self.make(f"simulate-{quantized.name}", params, inputs, locations=locations)}

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

    def _corrupted(
        self, quantized: QuantizedModel, model: Stage, final: Stage, device: DeviceSection
    ) -> Stage | None:
        """Scores of the shipped file on corrupted test images; on one device, because no gate reads them."""
        section, seed = self.checked.recipe.evaluate, self.checked.recipe.seed
        if not section.corruptions:
            return None
        predict = PredictCorruptedParams(
            **self._device_fields(device),
            corruptions=section.corruptions,
            images=section.corrupted_images,
            seed=seed,
            pillow=version("pillow"),
        )
        name = f"{quantized.name}@{device.name}"
        inputs = self._inputs_on(device, model, quantized.data, artifact=quantized.name)
        predictions = self._make_on(device, f"predict-corrupted-{name}", predict, inputs)
        score = EvaluateCorruptedParams(
            bins=BINS,
            seed=seed,
            thresholds=self.checked.recipe.thresholds,
            corruptions=section.corruptions,
        )
        return self.make(f"evaluate-corrupted-{name}", score, {"predictions": predictions, "clean": final})

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
            **self._device_fields(device), splits=dict(splits), seed=self.checked.recipe.seed
        )
        inputs = self._inputs_on(device, model, data, artifact=artifact)
        return self._make_on(device, f"{name}@{device.name}", params, inputs)

    def _benchmark(self, quantized: QuantizedModel, model: Stage, device: DeviceSection) -> Stage:
        section = self.checked.recipe.benchmark
        params = BenchmarkParams(
            **self._device_fields(device),
            threads=section.threads,
            seed=self.checked.recipe.seed,
            profile=section.profile,
            processes=PROCESSES[section.profile],
            load=load_of(section),
        )
        inputs = self._inputs_on(device, model, quantized.data, artifact=quantized.name)
        name = f"benchmark-{quantized.name}@{device.name}"
        return self._make_on(device, name, params, inputs, measures=True)

    def _inputs_on(
        self, device: DeviceSection, model: Stage, data: Stage, *, artifact: str
    ) -> dict[str, Stage]:
        """Inputs of a stage that runs a model's file on a device, with the engine or converted file it needs.

        A converted file is made on this machine and is the same for every device.

        Args:
            device: where the file runs.
            model: the stage that holds the file.
            data: the stage that prepares the data.
            artifact: names the file in the names of stages.
        """
        inputs = {"model": model, "data": data}
        runtime = RUNTIMES[device.runtime]
        if runtime.is_converted:
            # Imported here: it loads onnx, which other runtimes do not need to be planned.
            from calkd_edge.export.converters import converter_of

            params = ConvertParams(
                runtime=device.runtime,
                seed=self.checked.recipe.seed,
                versions=versions(*converter_of(device.runtime).packages, "onnx", "onnxruntime"),
            )
            inputs["converted"] = self.make(f"convert-{artifact}", params, dict(inputs))
        if runtime.is_compiled:
            build = BuildParams(**self._device_fields(device))
            name = f"build-{artifact}@{device.name}"
            inputs["engine"] = self._make_on(device, name, build, {"model": model})
        return inputs

    def _make_on(
        self,
        device: DeviceSection,
        name: str,
        params: DeviceParams,
        inputs: Mapping[str, Stage],
        *,
        measures: bool = False,
    ) -> Stage:
        """A stage that opens a device; another address of the same board changes no result."""
        locations: dict[str, Json] = {"device": dict(self.locations[device.name])}
        return self.make(name, params, inputs, locations=locations, measures=measures, resource=device.name)

    def _device_fields(self, device: DeviceSection) -> dict[str, Json]:
        """The fields of DeviceParams; clocks and temperatures are recorded with the results instead."""
        facts = self.devices[device.name]
        # A compiled engine takes no number of processor threads.
        compiled = RUNTIMES[device.runtime].is_compiled
        threads = {} if compiled else {"threads": self.checked.recipe.benchmark.threads}
        identity = {"board", "machine", "cpu", "isa", "l4t", "power_mode"}
        return {
            "device": device.name,
            "runtime": device.runtime,
            "runtime_version": facts.runtimes[device.runtime],
            "options": {**device.options, **threads},
            "on": facts.model_dump(mode="json", include=identity),
        }


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
    return load
