"""float32: the exported file as it is."""

from __future__ import annotations

import onnx

from calkd_edge.quantization.source import Images, Progress, unheard


def fp32(model: onnx.ModelProto, source: Images, progress: Progress = unheard) -> onnx.ModelProto:
    """The same file: every other precision is compared with it."""
    return model
