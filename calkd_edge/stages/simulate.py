"""simulate: predictions of a quantized file with every operator computed as written, unoptimised, here."""

from __future__ import annotations

from calkd_edge.data.prepared import Prepared
from calkd_edge.engine.stage import Job
from calkd_edge.export.agreement import one_level_off
from calkd_edge.export.artifacts import SIMULATED, SIMULATED_MOVED, onnx_file
from calkd_edge.export.host_predictions import AS_WRITTEN, predict_on_host
from calkd_edge.records import Predictions
from calkd_edge.stages.params import SimulateParams

IMAGES = 1000
"""Of the calibration split: enough to notice one changed prediction in a thousand."""

MOVED = 200
"""Of them, for the file's own sensitivity to one grey level in each pixel."""

AT_ONCE = 100


def run(job: Job) -> None:
    """Write a file's predictions for calibration images, and for some of them with moved pixels.

    The file is the one for ONNX Runtime's CPU where params say so and there is one, else the canonical.

    Integer products are made in float32.

    Raises:
        StageFailed: ONNX Runtime refuses the file.
    """
    params = SimulateParams.model_validate(job.params)
    images, labels, indices = Prepared.open(job.inputs["data"]).arrays("calibration", IMAGES, params.seed)
    path = onnx_file(job.inputs["model"], for_cpu=params.for_cpu)
    options = {**AS_WRITTEN, "threads": job.locations["threads"]}
    for file, pixels in ((SIMULATED, images), (SIMULATED_MOVED, one_level_off(images[:MOVED]))):
        logits = predict_on_host("onnxruntime", path, pixels, AT_ONCE, options)
        Predictions(logits, labels[: len(logits)], indices[: len(logits)]).save(job.out / file)
    job.progress(1, 1)
