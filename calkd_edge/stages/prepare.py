"""prepare: the data set, decoded once, split, and named by its content."""

from __future__ import annotations

from calkd_edge.data.prepare import prepare
from calkd_edge.engine.stage import Job
from calkd_edge.stages.params import PrepareParams
from calkd_edge.stages.unchanged import unchanged_dataset


def run(job: Job) -> None:
    """Write images.npy, labels.npy, classes.json and splits.json."""
    params = PrepareParams.model_validate(job.params)
    with unchanged_dataset(job, params, "data") as dataset:
        source = dataset.open(job.scratch, job.progress)
        prepare(source, job.out, progress=job.progress, **dict(params.splits))
