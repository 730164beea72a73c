"""predict: a model file over splits on a device; every output as it was returned."""

from __future__ import annotations

import json

import numpy as np

from calkd_edge.data.prepared import Prepared
from calkd_edge.engine.stage import Job
from calkd_edge.errors import StageFailed
from calkd_edge.export.artifacts import EXECUTED
from calkd_edge.files import sha256_of
from calkd_edge.records import Predictions
from calkd_edge.stages.executed import answers, executed

VERSION = 1
"""Raised by hand when what this stage writes changes."""


def run(job: Job) -> None:
    """Write <split>.npz for each split, and executed.json: the file, its SHA-256, the options used."""
    params = job.params
    prepared = Prepared.open(job.inputs["data"])
    ran = executed(job)
    rows = {name: prepared.indices(name, limit, params["seed"]) for name, limit in params["splits"].items()}
    whole = np.concatenate(list(rows.values()))
    images = job.scratch / "images.npy"
    np.save(images, prepared.images[whole])
    outputs, options = answers(job, ran, images)
    if not {"logits", "probabilities"} <= outputs.keys():
        raise StageFailed(
            f"{ran.path.name} returns {', '.join(outputs)}, not logits and probabilities",
            remedy="Export it with calkd-edge.",
        )
    start = 0
    for name, chosen in rows.items():
        piece = slice(start, start + len(chosen))
        start += len(chosen)
        found = Predictions(
            outputs["logits"][piece], prepared.labels[chosen], chosen, outputs["probabilities"][piece]
        )
        found.save(job.out / f"{name}.npz")
    told = {
        "file": ran.path.name,
        "sha256": sha256_of(ran.path),
        "size_bytes": ran.path.stat().st_size,
        "session_options": options,
    }
    if ran.built is not None:
        told["built"] = ran.built
    if ran.converted is not None:
        told["converted"] = ran.converted
    (job.out / EXECUTED).write_text(json.dumps(told, indent=1), encoding="utf-8")
