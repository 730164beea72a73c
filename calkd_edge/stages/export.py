"""export: weights to model.onnx, with torch's logits beside it for the proof of parity."""

from __future__ import annotations

import json

import numpy as np

from calkd_edge.data.prepared import Prepared
from calkd_edge.engine.stage import Job
from calkd_edge.export.artifacts import CANONICAL, REFERENCE, TRAINED_RANGES
from calkd_edge.export.torch_export import export_onnx, reference_logits
from calkd_edge.models import image_model
from calkd_edge.quantization import int8_qat
from calkd_edge.stages.exported_layers import IMAGES, check_layers
from calkd_edge.stages.params import ExportParams

REFERENCE_IMAGES = 1000


def run(job: Job) -> None:
    """Write model.onnx, and reference.npz: torch's logits on up to 1,000 calibration images."""
    params = ExportParams.model_validate(job.params)
    model, description = image_model.load(job.inputs["model"])
    metadata = {
        "package_version": params.package_version,
        "lineage": params.lineage,
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
    trained_ranges = job.inputs["model"] / TRAINED_RANGES
    if trained_ranges.is_file():
        metadata[int8_qat.RANGES] = trained_ranges.read_text(encoding="utf-8")
    target = job.out / CANONICAL
    export_onnx(model, description.image_shape, target, opset=params.opset, metadata=metadata)
    job.progress(1, 2)
    images, _, indices = Prepared.open(job.inputs["data"]).arrays("calibration", REFERENCE_IMAGES)
    check_layers(model, target, images[:IMAGES])
    np.savez(job.out / REFERENCE, logits=reference_logits(model, images), indices=indices)
    job.progress(2, 2)
