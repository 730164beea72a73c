"""int8 of a network that was trained further with rounding: its ranges are those of the training."""

from __future__ import annotations

import json
from typing import Annotated

import onnx
from pydantic import Field, PositiveFloat

from calkd_edge.errors import StageFailed
from calkd_edge.onnx_model.graph import metadata, set_metadata
from calkd_edge.quantization.magnitudes import RangeMethod
from calkd_edge.quantization.placement import QUANTIZED, insert_qdq, quantized_inputs
from calkd_edge.quantization.ranges import activation_ranges
from calkd_edge.quantization.scales import Scales
from calkd_edge.quantization.source import Images, Progress, no_progress
from calkd_edge.records import Count, Epochs

RANGES = "trained_ranges"
"""The key in an exported file's metadata: JSON, path of a layer -> r of its input range [-r, r]."""


def int8_qat(
    model: onnx.ModelProto,
    source: Images,
    progress: Progress = no_progress,
    *,
    epochs: Annotated[Epochs, Field(ge=1)] | None = None,
    lr: PositiveFloat | None = None,
    ranges: RangeMethod = "mse",
    scales: Scales = "free",
    images: Annotated[Count, Field(ge=1)] = 512,
) -> onnx.ModelProto:
    """int8 with training: the student is trained further with rounding, for some epochs at a low rate.

    `epochs` and `lr` default to a tenth and a hundredth of distillation's; `ranges` and `images` set how the
    ranges of that training are collected. This function reads them from the file; a value that no torch layer
    reads (a convolution written as a function) gets its range as in `int8`.
    """
    trained = _by_value(model, json.loads(metadata(model)[RANGES]))
    missing = [name for name in quantized_inputs(model) if name not in trained]
    if missing:
        trained |= activation_ranges(model, missing, source.training(images), ranges, progress)
    quantized = insert_qdq(model, trained, scales=scales)
    set_metadata(quantized, {RANGES: None})
    return quantized


def _by_value(model: onnx.ModelProto, by_path: dict[str, float]) -> dict[str, float]:
    """The ranges by the name of the value, from those by the path of the layer that reads it."""
    limits: dict[str, float] = {}
    matched: set[str] = set()
    for node in model.graph.node:
        # The exporter names a weight by its path in the exported module.
        path = node.input[1].removesuffix(".weight").partition(".")[2] if node.op_type in QUANTIZED else ""
        if path in by_path:
            limits[node.input[0]] = max(limits.get(node.input[0], 0.0), by_path[path])
            matched.add(path)
    unmatched = sorted(set(by_path) - matched)
    if unmatched:
        raise StageFailed(
            f"no convolution or product of the exported file has the weights of {', '.join(unmatched[:3])} "
            f"({len(unmatched)} of {len(by_path)} layers): their trained ranges cannot be assigned",
            remedy="Use the version of torch that trained the model, or remove int8_qat from precisions.",
        )
    return limits
