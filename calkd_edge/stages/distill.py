"""distill: the student, trained against the calibrated teacher."""

from __future__ import annotations

from calkd_edge.data.prepared import Prepared
from calkd_edge.engine.stage import Job
from calkd_edge.stages.distillation import distil
from calkd_edge.stages.params import DistillParams
from calkd_edge.stages.start import start_of


def run(job: Job) -> None:
    """Write the student's weights.safetensors, model.json and history.jsonl."""
    params = DistillParams.model_validate(job.params)
    prepared = Prepared.open(job.inputs["data"], job.locations["cache"])
    start = start_of(job, params, params.model, params.seed, prepared, where="student")
    distil(job, params, prepared, start, freeze_epochs=params.freeze_epochs)
