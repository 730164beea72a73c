"""From a canonical ONNX file to a LiteRT file (.tflite), for phones and ARM boards.

In scope: writing the same network in LiteRT's operators and layout. Out of scope: training, ranges and
calibration (the ONNX file holds them), running the file.
"""

from calkd_edge.export.litert.convert import convert
from calkd_edge.export.litert.file import EXTRA, installed

__all__ = ["EXTRA", "convert", "installed"]
