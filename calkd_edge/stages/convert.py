"""convert: the canonical file in the format of a runtime that reads no ONNX, compared with the ONNX file."""

from __future__ import annotations

import hashlib
import json

import onnx

from calkd_edge.data.prepared import Prepared
from calkd_edge.engine.stage import Job
from calkd_edge.errors import StageFailed
from calkd_edge.export.agreement import FLOATS, Agreement, agreement, one_level_off
from calkd_edge.export.artifacts import CANONICAL, CONVERSION, converted_file
from calkd_edge.export.converters import converter_of
from calkd_edge.export.host_predictions import AS_WRITTEN, predict_on_host
from calkd_edge.onnx_model.graph import metadata
from calkd_edge.stages.params import ConvertParams

IMAGES = 256


def run(job: Job) -> None:
    """Write the runtime's file, and converted.json: its SHA-256, and its agreement with the ONNX file.

    Raises:
        StageFailed: an operator has no counterpart, or the two files disagree.
    """
    params = ConvertParams.model_validate(job.params)
    source, target = job.inputs["model"] / CANONICAL, job.out / converted_file(params.runtime)
    model = onnx.load(source)
    content = converter_of(params.runtime).convert(model)
    target.write_bytes(content)
    images = Prepared.open(job.inputs["data"]).arrays("calibration", IMAGES, params.seed)[0]
    expected = predict_on_host("onnxruntime", source, images, len(images), AS_WRITTEN)
    converted = predict_on_host(params.runtime, target, images, 1, {})
    is_exact, moved = metadata(model).get("precision") in FLOATS, None
    if not is_exact:
        off = one_level_off(images)
        moved = predict_on_host("onnxruntime", source, off, len(off), AS_WRITTEN), expected
    near = agreement(converted, expected, exact=is_exact, moved=moved)
    facts = {"sha256": hashlib.sha256(content).hexdigest(), "images": len(images), **near._asdict()}
    _check(near, len(images))
    (job.out / CONVERSION).write_text(json.dumps(facts, indent=1), encoding="utf-8")
    job.progress(1, 1)


def _check(near: Agreement, images: int) -> None:
    if not near.sound:
        raise StageFailed(
            f"the converted file differs from the ONNX file {near.description(images)}",
            remedy="Do not ship it: take another runtime on that device, and report the model.",
        )
