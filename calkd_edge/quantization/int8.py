"""Static int8 without training, as explicit Q/DQ; see calkd_edge.quantization.placement."""

from __future__ import annotations

from typing import Annotated

import onnx
from pydantic import Field

from calkd_edge.quantization.bias_correction import with_corrected_biases
from calkd_edge.quantization.equalise import equalised
from calkd_edge.quantization.magnitudes import RangeMethod
from calkd_edge.quantization.placement import place_qdq, quantized_inputs
from calkd_edge.quantization.ranges import activation_ranges
from calkd_edge.quantization.scales import Scales
from calkd_edge.quantization.source import Images, Progress, unheard


def int8(
    model: onnx.ModelProto,
    source: Images,
    progress: Progress = unheard,
    *,
    ranges: RangeMethod = "percentile",
    scales: Scales = "free",
    equalise: bool = False,
    correct_bias: bool = True,
    images: Annotated[int, Field(ge=1)] = 512,
) -> onnx.ModelProto:
    """Static symmetric int8 by explicit Q/DQ, ranges from `images` training images.

    `equalise` first evens out the channels between two convolutions; `correct_bias` last moves the biases so
    that the mean of what each layer returns is float32's.
    """
    seen = source.training(images)
    if equalise:
        model = equalised(model, seen)
    found = activation_ranges(model, quantized_inputs(model), seen, ranges, progress)
    quantized = place_qdq(model, found, scales=scales)
    return with_corrected_biases(quantized, model, seen, scales, progress) if correct_bias else quantized
