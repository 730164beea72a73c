"""int8 of a network that was trained on with rounding: the ranges are those it was trained with."""

from __future__ import annotations

import json
from typing import Annotated

import onnx
from pydantic import Field, PositiveFloat

from calkd_edge.errors import StageFailed
from calkd_edge.onnx_model.graph import metadata, set_metadata
from calkd_edge.quantization.magnitudes import RangeMethod
from calkd_edge.quantization.placement import QUANTIZED, place_qdq, quantized_inputs
from calkd_edge.quantization.ranges import activation_ranges
from calkd_edge.quantization.scales import Scales
from calkd_edge.quantization.source import Images, Progress, unheard

RANGES = "trained_ranges"
"""The key in an exported file's metadata: JSON, layer's path -> r of what it reads, in [-r, r]."""


def int8_qat(
    model: onnx.ModelProto,
    source: Images,
    progress: Progress = unheard,
    *,
    epochs: Annotated[int, Field(ge=1)] | None = None,
    lr: PositiveFloat | None = None,
    ranges: RangeMethod = "mse",
    scales: Scales = "free",
    images: Annotated[int, Field(ge=1)] = 512,
) -> onnx.ModelProto:
    """int8 with training: the student learns on while it rounds, for some epochs at a low rate.

    `epochs` and `lr` are a tenth and a hundredth of distillation's where they are left out; `ranges` and
    `images` say how the ranges are found that are then trained with. Here those are read from the file; a
    value that no layer of torch's reads (a convolution written as a function) gets its range as in `int8`.
    """
    trained = _by_value(model, json.loads(metadata(model)[RANGES]))
    missing = [name for name in quantized_inputs(model) if name not in trained]
    if missing:
        trained |= activation_ranges(model, missing, source.training(images), ranges, progress)
    quantized = place_qdq(model, trained, scales=scales)
    set_metadata(quantized, {RANGES: None})
    return quantized


def _by_value(model: onnx.ModelProto, by_path: dict[str, float]) -> dict[str, float]:
    """The ranges by the name of the value that is read, from those by the path of the layer that reads it."""
    found: dict[str, float] = {}
    met: set[str] = set()
    for node in model.graph.node:
        # The exporter names a weight by its place in the module that it was given.
        path = node.input[1].removesuffix(".weight").partition(".")[2] if node.op_type in QUANTIZED else ""
        if path in by_path:
            found[node.input[0]] = max(found.get(node.input[0], 0.0), by_path[path])
            met.add(path)
    lost = sorted(set(by_path) - met)
    if lost:
        raise StageFailed(
            f"no convolution or product of the exported file has the weights of {', '.join(lost[:3])} "
            f"({len(lost)} of {len(by_path)} layers): their trained ranges belong nowhere",
            remedy="Another version of torch may name them as before; or leave int8_qat out.",
        )
    return found
