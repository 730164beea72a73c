"""float32: the file as it came."""

from __future__ import annotations

import onnx

from calkd_edge.quantization.source import Images, Progress, no_progress


def fp32(model: onnx.ModelProto, source: Images, progress: Progress = no_progress) -> onnx.ModelProto:
    """float32: the file unchanged; every other precision is compared with it."""
    return model
