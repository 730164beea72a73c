"""From a canonical ONNX file to a LiteRT file (.tflite), for phones and ARM boards.

In scope: writing the same network in LiteRT's operators and layout. Out of scope: training, ranges and
calibration (the ONNX file holds them), running the file.
"""

import onnx

from calkd_edge.export.litert.convert import convert
from calkd_edge.export.litert.file import installed

__all__ = ["LiteRTConverter", "convert"]


class LiteRTConverter:
    """Makes LiteRT files (.tflite) from canonical ONNX files."""

    packages = ("ai-edge-litert",)

    def check(self) -> None:
        """Check that LiteRT's package is installed."""
        installed()

    def convert(self, model: onnx.ModelProto) -> bytes:
        """The file, for one image a run."""
        return convert(model)
