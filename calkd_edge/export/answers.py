"""What a file answers in this very process: no device is asked, nothing is timed."""

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
"""What ONNX Runtime makes quicker it rounds otherwise."""


def answers_here(
    runtime: str, path: Path, images: np.ndarray, at_once: int, options: Mapping[str, object]
) -> FloatArray:
    """The logits [N, C] of a file for uint8 images [N, 3, H, W], `at_once` of them in a run.

    Raises:
        StageFailed: the runtime refuses the file.
    """
    try:
        with open_runtime(runtime, str(path), dict(options)) as opened:
            parts = [
                opened.infer(given)["logits"][:count]
                for _, given, count in pieces(images, opened.fixed or at_once, opened.fixed is not None)
            ]
    except AgentProblem as refused:
        raise StageFailed(refused.message, remedy=refused.remedy) from refused
    return np.concatenate(parts)
