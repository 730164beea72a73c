"""int8 with the fewest layers left in float32 that keep the accuracy, and by what they were chosen."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Annotated

import numpy as np
import onnx
from pydantic import Field

from calkd_edge.onnx_model.graph import set_metadata
from calkd_edge.quantization.bias_correction import with_corrected_biases
from calkd_edge.quantization.equalise import equalised
from calkd_edge.quantization.judge import Answers, Judge
from calkd_edge.quantization.magnitudes import RangeMethod
from calkd_edge.quantization.placement import layer_names, place_qdq, quantized_inputs
from calkd_edge.quantization.ranges import activation_ranges
from calkd_edge.quantization.scales import Scales
from calkd_edge.quantization.source import Images, Progress, unheard

CHOICE = "layers_in_float"
"""The key in the file's metadata: JSON, see `_told`. Its images must not be used to fit a calibration."""


def int8_mixed(
    model: onnx.ModelProto,
    source: Images,
    progress: Progress = unheard,
    *,
    max_drop: Annotated[float, Field(ge=0, lt=1)] = 0.005,
    ranges: RangeMethod = "mse",
    scales: Scales = "free",
    equalise: bool = False,
    correct_bias: bool = True,
    images: Annotated[int, Field(ge=1)] = 512,
) -> onnx.ModelProto:
    """int8 with as few layers left in float32 as keep top-1 within `max_drop` of float32's.

    Judged by every second calibration image, of which `max_drop` is a share; the calibration of confidence is
    then fitted on the others. A layer's worth is what the NLL falls by when it alone stays in float32, all
    biases being as they are; a choice is judged with its biases corrected.
    """
    seen = source.training(images)
    plain = equalised(model, seen) if equalise else model
    found = activation_ranges(plain, quantized_inputs(plain), seen, ranges, progress)
    judge = Judge(*source.judging())
    reference = judge.ask(model)
    layers = layer_names(plain)

    def placed(in_float: Sequence[str]) -> onnx.ModelProto:
        return place_qdq(plain, found, frozenset(in_float), scales)

    def made(in_float: Sequence[str]) -> onnx.ModelProto:
        quantized = placed(in_float)
        return with_corrected_biases(quantized, plain, seen, scales) if correct_bias else quantized

    whole = judge.ask(made(()))
    worth: dict[str, float] = {}
    kept: list[str] = []
    if whole.drop_from(reference) > max_drop:
        worth = _worth(layers, lambda in_float: judge.ask(placed(in_float)), progress)
        kept = _fewest(worth, lambda chosen: judge.ask(made(chosen)).drop_from(reference) <= max_drop)
    mixed = made(kept)
    last = judge.ask(mixed)
    told = _told(kept, worth, len(layers), len(judge.labels), whole, last, reference)
    set_metadata(mixed, {CHOICE: json.dumps(told)})
    return mixed


def _worth(
    layers: Sequence[str], answers: Callable[[Sequence[str]], Answers], progress: Progress
) -> dict[str, float]:
    """By layer, what the NLL falls by when it alone stays in float32; the largest first."""
    whole = answers(())
    found = {}
    for done, layer in enumerate(layers):
        found[layer] = whole.nll - answers([layer]).nll
        progress(done + 1, len(layers))
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _fewest(worth: dict[str, float], suffices: Callable[[Sequence[str]], bool]) -> list[str]:
    """As few layers as suffice: the worthiest until they do, then without each that is not needed after all.

    All of them suffice: that is float32 itself.
    """
    ranked = list(worth)
    kept: list[str] = []
    for layer in ranked:
        kept.append(layer)
        if suffices(kept):
            break
    for layer in reversed(kept[:-1]):
        without = [one for one in kept if one != layer]
        if suffices(without):
            kept = without
    return kept


def _told(
    kept: Sequence[str],
    worth: dict[str, float],
    layers: int,
    images: int,
    whole: Answers,
    last: Answers,
    reference: Answers,
) -> dict[str, object]:
    return {
        "layers": layers,
        "in_float": [{"layer": layer, "nll_gain": round(worth[layer], 6)} for layer in kept],
        "images": images,
        "drop_all_int8": whole.drop_from(reference),
        "drop": last.drop_from(reference),
        "nll_rise_all_int8": float(np.float64(whole.nll) - reference.nll),
        "nll_rise": float(np.float64(last.nll) - reference.nll),
    }
