"""From weights to one ONNX file that carries its own normalisation, names and calibration.

In scope: torch to ONNX, metadata, folding a calibration into a file. Out of scope: data sets (arrays come
in),
precision, running what was exported.
"""

from calkd_edge.registry import Registry

TEACHER_FILES = Registry(
    "teacher file",
    {"onnx": "calkd_edge.onnx_model.adopt:adopted_file"},
    plural="teacher_files",
)

CONVERTERS = Registry("converter", {"litert": "calkd_edge.export.litert:LiteRTConverter"})
"""Runtime of kind "converted" -> a `converters.Converter`, which makes its file from the canonical file."""
