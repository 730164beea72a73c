"""Precisions: from a float32 ONNX file to the files of another precision.

In scope: ranges, Q/DQ placement, typed fp16, the file derived for ONNX Runtime's CPU. Out of scope: data sets
(arrays come in), training, calibration of confidence, timing.
"""

from calkd_edge.registry import Registry

QUANTIZERS = Registry(
    "precision",
    {
        "fp32": "calkd_edge.quantization.fp32:fp32",
        "fp16": "calkd_edge.quantization.fp16:fp16",
        "int8": "calkd_edge.quantization.int8:int8",
        "int8_fp16": "calkd_edge.quantization.int8_fp16:int8_fp16",
        "int8_mixed": "calkd_edge.quantization.int8_mixed:int8_mixed",
        "int8_qat": "calkd_edge.quantization.int8_qat:int8_qat",
    },
)

CHOOSING = ("int8_mixed",)
"""Precisions that choose something by half of the calibration images, which then fit no calibration."""

TRAINED = ("int8_qat",)
"""Precisions whose file comes of a student that was trained on for them."""

ROUNDED = ("int8", "int8_fp16", "int8_mixed", "int8_qat")
"""Precisions whose files round to integers, and that ONNX Runtime can simulate."""
