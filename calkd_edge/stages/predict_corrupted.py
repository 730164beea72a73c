"""predict-corrupted: the shipped file over corrupted test images on a device; every output as returned."""

from __future__ import annotations

import numpy as np

from calkd_edge.data.corruptions import SEVERITIES, corrupted
from calkd_edge.data.prepared import Prepared
from calkd_edge.devices.session import open_session
from calkd_edge.engine.stage import Job
from calkd_edge.records import Predictions
from calkd_edge.stages.predict import executed_file

VERSION = 1
"""Raised by hand when what this stage writes changes."""


def file_of(name: str, severity: int) -> str:
    """The name of one corruption's predictions."""
    return f"{name}-{severity}.npz"


def run(job: Job) -> None:
    """Write <corruption>-<severity>.npz for each; the images themselves are not kept."""
    params = job.params
    prepared = Prepared.open(job.inputs["data"])
    path = executed_file(job.inputs["model"], params["runtime"])
    chosen = prepared.indices("test", params["images"], params["seed"])
    clean = prepared.images[chosen]
    asked = [(name, severity) for name in params["corruptions"] for severity in SEVERITIES]
    with open_session(params["device"]) as session:
        for place, (name, severity) in enumerate(asked):
            images = job.scratch / "images.npy"
            np.save(images, corrupted(clean, name, severity, seed=params["seed"]))
            outputs, _ = session.predict(path, images, runtime=params["runtime"], options=params["options"])
            images.unlink()
            found = Predictions(outputs["logits"], prepared.labels[chosen], chosen, outputs["probabilities"])
            found.save(job.out / file_of(name, severity))
            job.progress(place + 1, len(asked))
