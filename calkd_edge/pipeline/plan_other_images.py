"""The stages that run the shipped file on other images than those of the data: corrupted, and of no class."""

from __future__ import annotations

from importlib.metadata import version

from calkd_edge.data.prepare import fingerprinted
from calkd_edge.engine.stage import Stage
from calkd_edge.pipeline.plan_device import BINS, DeviceStages, QuantizedModel
from calkd_edge.recipe.schema import DeviceSection
from calkd_edge.records import Json
from calkd_edge.release.gates.metrics import METRICS
from calkd_edge.stages.params import (
    EvaluateCorruptedParams,
    EvaluateUnknownParams,
    PredictCorruptedParams,
    PredictUnknownParams,
    PrepareUnknownParams,
)


class OtherImageStages(DeviceStages):
    """Makes the stages on other images."""

    @property
    def are_judged(self) -> bool:
        """Whether a gate judges answers to images that are not those of the data: then on every device."""
        return any(METRICS[gate.metric].other_images for gate in self.checked.recipe.gates)

    def corrupted(
        self, quantized: QuantizedModel, model: Stage, final: Stage, device: DeviceSection
    ) -> Stage | None:
        """Scores of the shipped file on corrupted test images; on one device, unless a gate reads them."""
        section, seed = self.checked.recipe.evaluate, self.checked.recipe.seed
        if not section.corruptions:
            return None
        predict = PredictCorruptedParams(
            **self.device_fields(device),
            corruptions=section.corruptions,
            images=section.corrupted_images,
            seed=seed,
            pillow=version("pillow"),
        )
        name = f"{quantized.name}@{device.name}"
        inputs = self.inputs_on(device, model, quantized.data, artifact=quantized.name)
        predictions = self.make_on(device, f"predict-corrupted-{name}", predict, inputs)
        score = EvaluateCorruptedParams(
            bins=BINS,
            seed=seed,
            thresholds=self.checked.recipe.thresholds,
            corruptions=section.corruptions,
        )
        return self.make(f"evaluate-corrupted-{name}", score, {"predictions": predictions, "clean": final})

    def unknown(
        self, quantized: QuantizedModel, model: Stage, final: Stage, device: DeviceSection
    ) -> Stage | None:
        """How confident the shipped file is on images of no class."""
        unknown = self.checked.unknown
        if unknown is None:
            return None
        images = PrepareUnknownParams(
            dataset=unknown.component.name,
            settings=fingerprinted(unknown.component.settings),
            identity=unknown.identity,
            images=unknown.section.images,
            seed=self.checked.recipe.seed,
            without_data=True,
        )
        locations: dict[str, Json] = {"root": unknown.section.root}
        data = {"data": quantized.data}
        prepared = self.make("prepare-unknown", images, data, locations=locations)
        name = f"{quantized.name}@{device.name}"
        predict = PredictUnknownParams(**self.device_fields(device))
        inputs = {
            **self.inputs_on(device, model, quantized.data, artifact=quantized.name),
            "unknown": prepared,
        }
        predictions = self.make_on(device, f"predict-unknown-{name}", predict, inputs)
        score = EvaluateUnknownParams(thresholds=self.checked.recipe.thresholds)
        return self.make(
            f"evaluate-unknown-{name}",
            score,
            {"unknown": prepared, "predictions": predictions, "clean": final},
        )
