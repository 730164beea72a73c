"""predict-corrupted: outputs of the shipped file for corrupted test images on a device."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from calkd_edge.data.corruptions import SEVERITIES, corrupted
from calkd_edge.data.prepared import Prepared
from calkd_edge.data.source import ImageArray
from calkd_edge.engine.stage import Job
from calkd_edge.export.artifacts import corrupted_predictions
from calkd_edge.files.new_array import new_array
from calkd_edge.records import Predictions
from calkd_edge.stages.executed import executable_of, outputs_of
from calkd_edge.stages.params import PredictCorruptedParams
from calkd_edge.stages.scores import scores_of


def run(job: Job) -> None:
    """Write <corruption>-<severity>.npz for each; the images themselves are not kept."""
    params = PredictCorruptedParams.model_validate(job.params)
    prepared = Prepared.open(job.inputs["data"])
    executable = executable_of(job, params)
    chosen = prepared.indices("test", params.images, params.seed)
    variants = [(name, severity) for name in params.corruptions for severity in SEVERITIES]
    images = job.scratch / "images.npy"
    _write(images, prepared.images[chosen], variants, params.seed)
    outputs, _ = outputs_of(job, params, executable, images)
    file, classes = executable.path.name, len(prepared.classes)
    logits, probabilities = scores_of(outputs, file=file, device=params.device, classes=classes)
    for index, (name, severity) in enumerate(variants):
        rows = slice(index * len(chosen), (index + 1) * len(chosen))
        predictions = Predictions(logits[rows], prepared.labels[chosen], chosen, probabilities[rows])
        predictions.save(job.out / corrupted_predictions(name, severity))


def _write(target: Path, clean: ImageArray, variants: Sequence[tuple[str, int]], seed: int) -> None:
    """All corrupted images in one file, so that one device session suffices."""
    shape = (len(variants) * len(clean), *clean.shape[1:])
    array = new_array(target, shape)
    for index, (name, severity) in enumerate(variants):
        array[index * len(clean) : (index + 1) * len(clean)] = corrupted(clean, name, severity, seed=seed)
    array.flush()
