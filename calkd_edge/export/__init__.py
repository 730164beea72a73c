"""From weights to ONNX and LiteRT files with their normalisation, names and calibration inside.

In scope: torch to ONNX, ONNX to LiteRT, names of published files, comparing the outputs of two files. Out of
scope: data sets (callers pass arrays), precision, devices.
"""

from calkd_edge.registry import Registry

TEACHER_FILES = Registry(
    "teacher file",
    {"onnx": "calkd_edge.onnx_model.adopt:adopted_file"},
    plural="teacher_files",
)

CONVERTERS = Registry("converter", {"litert": "calkd_edge.export.litert:LiteRTConverter"})
"""Runtime of kind "converted" -> a `converters.Converter`, which makes its file from the canonical file."""
