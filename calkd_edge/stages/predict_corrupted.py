"""predict-corrupted: the shipped file over corrupted test images on a device; every output as returned."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from calkd_edge.data.corruptions import SEVERITIES, corrupted
from calkd_edge.data.prepared import Prepared
from calkd_edge.data.source import ImageArray
from calkd_edge.engine.stage import Job
from calkd_edge.records import Predictions
from calkd_edge.stages.executed import answers, executed

VERSION = 1
"""Raised by hand when what this stage writes changes."""


def file_of(name: str, severity: int) -> str:
    """The name of one corruption's predictions."""
    return f"{name}-{severity}.npz"


def run(job: Job) -> None:
    """Write <corruption>-<severity>.npz for each; the images themselves are not kept."""
    params = job.params
    prepared = Prepared.open(job.inputs["data"])
    ran = executed(job)
    chosen = prepared.indices("test", params["images"], params["seed"])
    asked = [(name, severity) for name in params["corruptions"] for severity in SEVERITIES]
    images = job.scratch / "images.npy"
    _write(images, prepared.images[chosen], asked, params["seed"])
    outputs, _ = answers(job, ran, images)
    for place, (name, severity) in enumerate(asked):
        rows = slice(place * len(chosen), (place + 1) * len(chosen))
        found = Predictions(
            outputs["logits"][rows], prepared.labels[chosen], chosen, outputs["probabilities"][rows]
        )
        found.save(job.out / file_of(name, severity))


def _write(target: Path, clean: ImageArray, asked: Sequence[tuple[str, int]], seed: int) -> None:
    """All corrupted images in one file, so that the device is asked once."""
    shape = (len(asked) * len(clean), *clean.shape[1:])
    whole = np.lib.format.open_memmap(target, "w+", np.uint8, shape)
    for place, (name, severity) in enumerate(asked):
        whole[place * len(clean) : (place + 1) * len(clean)] = corrupted(clean, name, severity, seed=seed)
    whole.flush()
