"""export: weights to model.onnx, with torch's own logits beside it for the proof of parity."""

from __future__ import annotations

import json

import numpy as np

from calkd_edge.data.prepared import Prepared
from calkd_edge.engine.stage import Job
from calkd_edge.export.onnx_export import export_onnx, reference_logits
from calkd_edge.models import image_model
from calkd_edge.quantization import int8_qat
from calkd_edge.stages.qat import RANGES

VERSION = 1
"""Raised by hand when what this stage writes changes."""

REFERENCE_IMAGES = 1000


def run(job: Job) -> None:
    """Write model.onnx, and reference.npz: torch's logits on up to 1,000 calibration images."""
    model, description = image_model.load(job.inputs["model"])
    metadata = {
        "package_version": job.params["package_version"],
        "lineage": job.params["lineage"],
        "model": description.name,
        "settings": json.dumps(description.settings, sort_keys=True),
        "classes": json.dumps(description.classes),
        "input": "uint8 RGB, NCHW, normalised inside the file",
        "input_note": description.input_note,
        "data_license": description.license,
        "outputs": "logits: raw scores; probabilities: their softmax",
        "precision": "fp32",
        "calibration": "none",
    }
    trained_ranges = job.inputs["model"] / RANGES
    if trained_ranges.is_file():
        metadata[int8_qat.RANGES] = trained_ranges.read_text(encoding="utf-8")
    target = job.out / "model.onnx"
    export_onnx(model, description.image_shape, target, opset=job.params["opset"], metadata=metadata)
    job.progress(1, 2)
    images, _, indices = Prepared.open(job.inputs["data"]).arrays("calibration", REFERENCE_IMAGES)
    np.savez(job.out / "reference.npz", logits=reference_logits(model, images), indices=indices)
    job.progress(2, 2)
