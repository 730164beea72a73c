"""Predictions of a file in this process, without a device and without timing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from calkd_edge.agent.predict import pieces
from calkd_edge.agent.problem import AgentProblem
from calkd_edge.agent.runtimes import open_runtime
from calkd_edge.errors import StageFailed
from calkd_edge.records import FloatArray

AS_WRITTEN = {"optimization": "none"}
"""Options of ONNX Runtime without optimizations, which round differently."""


def predict_on_host(
    runtime: str, path: Path, images: np.ndarray, batch_size: int, options: Mapping[str, object]
) -> FloatArray:
    """The logits [N, C] of a file for uint8 images [N, 3, H, W], `batch_size` of them in a run.

    Raises:
        StageFailed: the runtime refuses the file.
    """
    try:
        with open_runtime(runtime, str(path), dict(options)) as opened:
            parts = [
                opened.infer(batch)["logits"][:count]
                for _, batch, count in pieces(images, opened.fixed or batch_size, opened.fixed is not None)
            ]
    except AgentProblem as refused:
        raise StageFailed(refused.message, remedy=refused.remedy) from refused
    return np.concatenate(parts)
