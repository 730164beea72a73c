"""simulate: what a rounded file says if every operator does what is written: nothing optimised, here."""

from __future__ import annotations

from calkd_edge.data.prepared import Prepared
from calkd_edge.engine.stage import Job
from calkd_edge.export.artifacts import CANONICAL, SIMULATED
from calkd_edge.export.host_predictions import AS_WRITTEN, predict_on_host
from calkd_edge.records import Predictions

VERSION = 1
"""Raised by hand when what this stage writes changes."""

IMAGES = 1000
"""Of the calibration split: enough to tell one changed answer in a thousand."""

AT_ONCE = 100


def run(job: Job) -> None:
    """Write the canonical file's answers to calibration images, each product of integers made in float32.

    Raises:
        StageFailed: ONNX Runtime does not take the file.
    """
    images, labels, indices = Prepared.open(job.inputs["data"]).arrays(
        "calibration", IMAGES, job.params["seed"]
    )
    options = {**AS_WRITTEN, "threads": job.places["threads"]}
    logits = predict_on_host("onnxruntime", job.inputs["model"] / CANONICAL, images, AT_ONCE, options)
    Predictions(logits, labels, indices).save(job.out / SIMULATED)
    job.progress(1, 1)
