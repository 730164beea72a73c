"""predict-unknown: confidence of the shipped file on images of no class, on a device."""

from __future__ import annotations

import shutil

import numpy as np

from calkd_edge.data.prepared import Prepared
from calkd_edge.engine.stage import Job
from calkd_edge.export.artifacts import UNKNOWN_IMAGES, UNKNOWN_SCORES
from calkd_edge.stages.executed import executable_of, outputs_of
from calkd_edge.stages.params import PredictUnknownParams
from calkd_edge.stages.scores import scores_of


def run(job: Job) -> None:
    """Write unknown.npz: answers [N] and confidence [N], float32 as the file returned it."""
    params = PredictUnknownParams.model_validate(job.params)
    prepared = Prepared.open(job.inputs["data"])
    executable = executable_of(job, params)
    images = job.scratch / "images.npy"
    shutil.copyfile(job.inputs["unknown"] / UNKNOWN_IMAGES, images)
    outputs, _ = outputs_of(job, params, executable, images)
    file, classes = executable.path.name, len(prepared.classes)
    _, probabilities = scores_of(outputs, file=file, device=params.device, classes=classes)
    np.savez(
        job.out / UNKNOWN_SCORES, answers=probabilities.argmax(axis=1), confidence=probabilities.max(axis=1)
    )
