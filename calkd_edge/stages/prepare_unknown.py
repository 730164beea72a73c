"""prepare-unknown: images that show none of the classes, in the shape that the models read."""

from __future__ import annotations

import hashlib
import json

import numpy as np

from calkd_edge.data.images_file import drop_rows, write_images
from calkd_edge.data.prepared import Prepared
from calkd_edge.data.source import Source
from calkd_edge.engine.stage import Job
from calkd_edge.errors import RecipeError, StageFailed
from calkd_edge.export.artifacts import UNKNOWN_FACTS, UNKNOWN_IMAGES
from calkd_edge.stages.params import PrepareUnknownParams
from calkd_edge.stages.unchanged import unchanged_dataset

FEWEST = 20
"""Unknown images from which their confidence is measured."""


def run(job: Job) -> None:
    """Write images.npy and unknown.json: what the images are, and which were left out.

    Images that cannot be read are left out, and so are those that are images of the data, pixel by pixel.
    """
    params = PrepareUnknownParams.model_validate(job.params)
    prepared = Prepared.open(job.inputs["data"])
    with unchanged_dataset(job, params, "evaluate.unknown") as dataset:
        _prepare(dataset.open(job.scratch, job.progress), prepared, params, job)


def _prepare(source: Source, prepared: Prepared, params: PrepareUnknownParams, job: Job) -> None:
    if source.image_shape != prepared.image_shape:
        raise RecipeError(
            f"evaluate.unknown: its images are {source.image_shape}, those of the data "
            f"{prepared.image_shape}",
            remedy="Name a set of images of that size, or a folder of images (name: image_folder).",
        )
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence([params.seed, 0x0DD])))
    chosen = np.sort(generator.permutation(len(source.labels))[: params.images])
    target = job.out / UNKNOWN_IMAGES
    digests, skipped = write_images(source, chosen, target, broken="skip", progress=job.progress)
    known = _digests(prepared)
    kept = [row for row in sorted(digests) if digests[row] not in known]
    left_out = len(digests) - len(kept)
    if left_out > len(digests) / 2:
        raise StageFailed(
            f"evaluate.unknown: {left_out} of {len(digests)} images are images of the data, pixel by pixel",
            remedy="Name images of something else than the classes.",
            stage="prepare-unknown",
        )
    if len(kept) < FEWEST:
        raise StageFailed(
            f"only {len(kept)} of {len(chosen)} unknown images are left: {len(skipped)} cannot be read, "
            f"{left_out} are images of the data",
            remedy=f"Give evaluate.unknown at least {FEWEST} images of something else.",
            stage="prepare-unknown",
        )
    if len(kept) < len(chosen):
        drop_rows(target, np.array(kept, dtype=np.int64))
    facts = {
        "source": f"{params.dataset}: {source.shape_note}",
        "left_out": left_out,
        "skipped": len(skipped),
        "shared_classes": sorted(_folded(source.classes) & _folded(prepared.classes)),
    }
    (job.out / UNKNOWN_FACTS).write_text(json.dumps(facts, indent=1), encoding="utf-8")


def _digests(prepared: Prepared) -> set[bytes]:
    """SHA-256 of every image of the data, whatever its split."""
    rows = np.arange(len(prepared.labels))[:, None]
    return {hashlib.sha256(prepared.images[row].tobytes()).digest() for row in rows}


def _folded(names: tuple[str, ...]) -> set[str]:
    return {name.casefold().strip() for name in names}
