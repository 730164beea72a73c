"""prepare: the data set, decoded once, split, and named by its content."""

from __future__ import annotations

from pathlib import Path

from calkd_edge.data import DATASETS
from calkd_edge.data.prepare import prepare
from calkd_edge.engine.stage import Job
from calkd_edge.stages.params import PrepareParams


def run(job: Job) -> None:
    """Write images.npy, labels.npy, classes.json and splits.json."""
    params = PrepareParams.model_validate(job.params)
    root = job.locations["root"]
    dataset = DATASETS.load(params.dataset)(None if root is None else Path(root), **params.settings)
    source = dataset.open(job.scratch, job.progress)
    prepare(source, job.out, progress=job.progress, **dict(params.splits))
