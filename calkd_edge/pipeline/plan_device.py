"""Stages that open a device: what they are given, and what makes them differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from calkd_edge.agent.runtimes import RUNTIMES
from calkd_edge.engine.stage import Stage
from calkd_edge.pipeline.checks import CheckedRecipe
from calkd_edge.pipeline.plan_training import StageMaker, versions
from calkd_edge.pipeline.planned import Model
from calkd_edge.recipe.schema import DeviceSection
from calkd_edge.records import DeviceFacts, Json
from calkd_edge.stages.params import BuildParams, ConvertParams, DeviceParams

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
class DeviceStages:
    """Makes stages that run a model's file on a device.

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

    def inputs_on(
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
            build = BuildParams(**self.device_fields(device))
            name = f"build-{artifact}@{device.name}"
            inputs["engine"] = self.make_on(device, name, build, {"model": model})
        return inputs

    def make_on(
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
        return self.make(name, params, inputs, locations=locations, measures=measures, resource=device.label)

    def device_fields(self, device: DeviceSection) -> dict[str, Json]:
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
