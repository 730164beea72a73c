"""predict: outputs of a model file for splits of the data on a device, as the device returned them."""

from __future__ import annotations

import json

import numpy as np

from calkd_edge.data.prepared import Prepared
from calkd_edge.engine.stage import Job
from calkd_edge.export.artifacts import EXECUTED
from calkd_edge.records import Predictions
from calkd_edge.stages.executed import executable_of, outputs_of
from calkd_edge.stages.params import PredictParams
from calkd_edge.stages.scores import scores_of


def run(job: Job) -> None:
    """Write <split>.npz for each split, and executed.json: the file, its SHA-256, the options used."""
    params = PredictParams.model_validate(job.params)
    prepared = Prepared.open(job.inputs["data"])
    executable = executable_of(job, params)
    rows = {name: prepared.indices(name, limit, params.seed) for name, limit in params.splits.items()}
    all_rows = np.concatenate(list(rows.values()))
    images = job.scratch / "images.npy"
    np.save(images, prepared.images[all_rows])
    outputs, options = outputs_of(job, params, executable, images)
    file, classes = executable.path.name, len(prepared.classes)
    logits, probabilities = scores_of(outputs, file=file, device=params.device, classes=classes)
    start = 0
    for name, chosen in rows.items():
        piece = slice(start, start + len(chosen))
        start += len(chosen)
        predictions = Predictions(logits[piece], prepared.labels[chosen], chosen, probabilities[piece])
        predictions.save(job.out / f"{name}.npz")
    facts = {
        "file": executable.path.name,
        "sha256": executable.sha256,
        "size_bytes": executable.path.stat().st_size,
        "session_options": options,
    }
    if executable.built is not None:
        facts["built"] = executable.built
    if executable.converted is not None:
        facts["converted"] = executable.converted
    (job.out / EXECUTED).write_text(json.dumps(facts, indent=1), encoding="utf-8")
