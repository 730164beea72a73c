"""int8 with the fewest layers left in float32 that keep the accuracy, and how they were chosen."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Annotated

import numpy as np
import onnx
from pydantic import Field

from calkd_edge.onnx_model.graph import set_metadata
from calkd_edge.quantization.accuracy import Accuracy, Evaluator
from calkd_edge.quantization.bias_correction import with_corrected_biases
from calkd_edge.quantization.equalisation import equalise_channels
from calkd_edge.quantization.magnitudes import RangeMethod
from calkd_edge.quantization.placement import insert_qdq, layer_names, quantized_inputs, with_stored_weights
from calkd_edge.quantization.ranges import activation_ranges
from calkd_edge.quantization.scales import Scales
from calkd_edge.quantization.source import Images, Progress, no_progress
from calkd_edge.records import Count

CHOICE = "layers_in_float"
"""The key in the file's metadata: JSON, see `int8_mixed`. Fit no calibration to the images of the choice."""


def int8_mixed(
    model: onnx.ModelProto,
    source: Images,
    progress: Progress = no_progress,
    *,
    max_drop: Annotated[float, Field(ge=0, lt=1)] = 0.005,
    ranges: RangeMethod = "mse",
    scales: Scales = "free",
    equalise: bool = True,
    correct_bias: bool = True,
    images: Annotated[Count, Field(ge=1)] = 512,
) -> onnx.ModelProto:
    """int8 with as few layers left in float32 as keep top-1 within `max_drop` of float32's.

    Accuracy is measured on every second calibration image, of which `max_drop` is a share; the calibration of
    confidence is then fitted to the others. Layers are ranked by the decrease in NLL when each alone stays in
    float32, without correcting biases; a choice of layers is measured with its biases corrected.
    """
    model = with_stored_weights(model)
    sample = source.training(images)
    plain = equalise_channels(model, sample) if equalise else model
    limits = activation_ranges(plain, quantized_inputs(plain), sample, ranges, progress)
    evaluator = Evaluator(*source.judging())
    reference = evaluator.evaluate(model)
    layers = layer_names(plain)

    def placed(in_float: Sequence[str]) -> onnx.ModelProto:
        return insert_qdq(plain, limits, frozenset(in_float), scales)

    def corrected(in_float: Sequence[str]) -> onnx.ModelProto:
        quantized = placed(in_float)
        return with_corrected_biases(quantized, plain, sample, scales) if correct_bias else quantized

    all_int8 = evaluator.evaluate(corrected(()))
    gains: dict[str, float] = {}
    kept: list[str] = []
    if all_int8.drop_from(reference) > max_drop:
        gains = _gains(layers, lambda in_float: evaluator.evaluate(placed(in_float)), progress)
        kept = _fewest(
            gains, lambda chosen: evaluator.evaluate(corrected(chosen)).drop_from(reference) <= max_drop
        )
    mixed = corrected(kept)
    final = evaluator.evaluate(mixed)
    choice = {
        "layers": len(layers),
        "in_float": [{"layer": layer, "nll_gain": round(gains[layer], 6)} for layer in kept],
        "images": len(evaluator.labels),
        "drop_all_int8": all_int8.drop_from(reference),
        "drop": final.drop_from(reference),
        "nll_rise_all_int8": float(np.float64(all_int8.nll) - reference.nll),
        "nll_rise": float(np.float64(final.nll) - reference.nll),
    }
    set_metadata(mixed, {CHOICE: json.dumps(choice)})
    return mixed


def _gains(
    layers: Sequence[str], accuracy_of: Callable[[Sequence[str]], Accuracy], progress: Progress
) -> dict[str, float]:
    """By layer, the decrease in NLL when it alone stays in float32; the largest first."""
    all_int8 = accuracy_of(())
    gains = {}
    for done, layer in enumerate(layers):
        gains[layer] = all_int8.nll - accuracy_of([layer]).nll
        progress(done + 1, len(layers))
    return dict(sorted(gains.items(), key=lambda item: -item[1]))


def _fewest(gains: dict[str, float], suffices: Callable[[Sequence[str]], bool]) -> list[str]:
    """As few layers as suffice: add those of largest gain until they do, then drop each that is not needed.

    All layers suffice: that is float32.
    """
    ranked = list(gains)
    kept: list[str] = []
    for layer in ranked:
        kept.append(layer)
        if suffices(kept):
            break
    for layer in reversed(kept[:-1]):
        without = [other for other in kept if other != layer]
        if suffices(without):
            kept = without
    return kept
