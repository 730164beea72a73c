"""simulate: what a rounded file says if every operator does what is written: nothing optimised, here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from calkd_edge.agent.problem import AgentProblem
from calkd_edge.agent.runtimes import open_runtime
from calkd_edge.data.prepared import Prepared
from calkd_edge.engine.stage import Job
from calkd_edge.errors import StageFailed
from calkd_edge.records import FloatArray, Predictions
from calkd_edge.stages.quantize import CANONICAL

VERSION = 1
"""Raised by hand when what this stage writes changes."""

IMAGES = 1000
"""Of the calibration split: enough to tell one changed answer in a thousand."""

AS_WRITTEN = {"optimization": "none"}
"""What ONNX Runtime makes quicker it rounds otherwise."""

SIMULATED, AT_ONCE = "simulated.npz", 100


def run(job: Job) -> None:
    """Write the canonical file's answers to calibration images, each product of integers made in float32.

    Raises:
        StageFailed: ONNX Runtime does not take the file.
    """
    images, labels, indices = Prepared.open(job.inputs["data"]).arrays(
        "calibration", IMAGES, job.params["seed"]
    )
    logits = answers_here("onnxruntime", job.inputs["model"] / CANONICAL, images, AT_ONCE, AS_WRITTEN)
    Predictions(logits, labels, indices).save(job.out / SIMULATED)
    job.progress(1, 1)


def answers_here(
    runtime: str, path: Path, images: np.ndarray, at_once: int, options: Mapping[str, object]
) -> FloatArray:
    """The logits [N, C] of a file for uint8 images [N, 3, H, W], in this very process.

    Raises:
        StageFailed: the runtime refuses the file.
    """
    try:
        with open_runtime(runtime, str(path), dict(options)) as opened:
            parts = [
                opened.infer(np.ascontiguousarray(images[start : start + at_once]))["logits"]
                for start in range(0, len(images), at_once)
            ]
    except AgentProblem as refused:
        raise StageFailed(refused.message, remedy=refused.remedy) from refused
    return np.concatenate(parts)
