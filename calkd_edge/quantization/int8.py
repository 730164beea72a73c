"""Static int8 without training, as explicit Q/DQ; see calkd_edge.quantization.placement."""

from __future__ import annotations

from typing import Annotated

import onnx
from pydantic import Field

from calkd_edge.quantization.bias_correction import with_corrected_biases
from calkd_edge.quantization.equalisation import equalise_channels
from calkd_edge.quantization.magnitudes import RangeMethod
from calkd_edge.quantization.placement import insert_qdq, quantized_inputs, with_stored_weights
from calkd_edge.quantization.ranges import activation_ranges
from calkd_edge.quantization.scales import Scales
from calkd_edge.quantization.source import Images, Progress, no_progress
from calkd_edge.records import Count


def int8(
    model: onnx.ModelProto,
    source: Images,
    progress: Progress = no_progress,
    *,
    ranges: RangeMethod = "mse",
    scales: Scales = "free",
    equalise: bool = True,
    correct_bias: bool = True,
    images: Annotated[Count, Field(ge=1)] = 512,
) -> onnx.ModelProto:
    """Static symmetric int8 by explicit Q/DQ, with ranges from `images` training images.

    `equalise` first evens out the channels between two convolutions; `correct_bias` finally changes the
    biases so that the mean output of each layer is that of float32.
    """
    model = with_stored_weights(model)
    sample = source.training(images)
    if equalise:
        model = equalise_channels(model, sample)
    activation_limits = activation_ranges(model, quantized_inputs(model), sample, ranges, progress)
    quantized = insert_qdq(model, activation_limits, scales=scales)
    return with_corrected_biases(quantized, model, sample, scales, progress) if correct_bias else quantized
