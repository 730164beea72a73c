"""int8 for layers with weights, float16 in between: for TensorRT, which executes the types of the file."""

from __future__ import annotations

from typing import Annotated

import onnx
from pydantic import Field

from calkd_edge.quantization.fp16 import fp16
from calkd_edge.quantization.int8 import int8
from calkd_edge.quantization.magnitudes import RangeMethod
from calkd_edge.quantization.placement import with_stored_weights
from calkd_edge.quantization.scales import Scales
from calkd_edge.quantization.source import Images, Progress, no_progress
from calkd_edge.records import Count

OLDEST_OPSET = 19
"""Since this opset QuantizeLinear reads float16."""


def int8_fp16(
    model: onnx.ModelProto,
    source: Images,
    progress: Progress = no_progress,
    *,
    ranges: RangeMethod = "mse",
    scales: Scales = "dyadic",
    equalise: bool = True,
    correct_bias: bool = True,
    images: Annotated[Count, Field(ge=1)] = 512,
) -> onnx.ModelProto:
    """int8 with everything between the quantized layers in float16; the logits stay in float32.

    Scales become float16 too: dyadic ones keep their value, free ones are rounded.
    """
    quantized = int8(
        with_stored_weights(model, OLDEST_OPSET),
        source,
        progress,
        ranges=ranges,
        scales=scales,
        equalise=equalise,
        correct_bias=correct_bias,
        images=images,
    )
    return fp16(quantized, source)
