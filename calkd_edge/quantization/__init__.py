"""Precisions: from a float32 ONNX file to files of other precisions.

In scope: ranges, Q/DQ placement, typed fp16, the file derived for ONNX Runtime's CPU. Out of scope: data sets
(callers pass arrays), training, calibration of confidence, timing.
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
