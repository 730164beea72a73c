"""convert: the canonical file as a runtime that takes no ONNX wants it, made here and held against it."""

from __future__ import annotations

import hashlib
import json

import onnx

from calkd_edge.data.prepared import Prepared
from calkd_edge.engine.stage import Job
from calkd_edge.errors import StageFailed
from calkd_edge.export.agreement import FLOATS, Agreement, agreement
from calkd_edge.export.answers import AS_WRITTEN, answers_here
from calkd_edge.export.artifacts import CANONICAL, CONVERSION, converted_file
from calkd_edge.export.converters import converter_of
from calkd_edge.onnx_model.graph import metadata

VERSION = 1
"""Raised by hand when what this stage writes changes."""

IMAGES = 256


def run(job: Job) -> None:
    """Write the runtime's file, and converted.json: its SHA-256, and how close its answers are.

    Raises:
        StageFailed: an operator has no counterpart, or the two say different things.
    """
    runtime = job.params["runtime"]
    source, target = job.inputs["model"] / CANONICAL, job.out / converted_file(runtime)
    model = onnx.load(source)
    content = converter_of(runtime).convert(model)
    target.write_bytes(content)
    images = Prepared.open(job.inputs["data"]).arrays("calibration", IMAGES, job.params["seed"])[0]
    wanted = answers_here("onnxruntime", source, images, len(images), AS_WRITTEN)
    found = answers_here(runtime, target, images, 1, {})
    near = agreement(found, wanted, exact=metadata(model).get("precision") in FLOATS)
    facts = {"sha256": hashlib.sha256(content).hexdigest(), "images": len(images), **near._asdict()}
    _check(near, len(images))
    (job.out / CONVERSION).write_text(json.dumps(facts, indent=1), encoding="utf-8")
    job.progress(1, 1)


def _check(near: Agreement, images: int) -> None:
    if not near.sound:
        allowed = "" if near.allowed is None else f" (allowed {near.allowed:.3g})"
        raise StageFailed(
            f"the converted file differs from the ONNX file by {near.max_logit_difference:.3g} in a logit"
            f"{allowed}, by {near.apart:.2%} of the logits on average, on {images} images; the slope between "
            f"them is {near.slope:.4f}, {near.changed} answers changed that are no near ties",
            remedy="Do not ship it: take another runtime on that device, and report the model.",
        )
