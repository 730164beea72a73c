"""build: an engine from the canonical file, compiled on the device that will run it."""

from __future__ import annotations

import json

import onnx

from calkd_edge.devices.session import open_session
from calkd_edge.engine.stage import Job
from calkd_edge.export.artifacts import ENGINE, ENGINE_FACTS, executed_file
from calkd_edge.onnx_model.graph import metadata
from calkd_edge.onnx_model.lint import lint_model, refuse_errors
from calkd_edge.stages.params import BuildParams


def run(job: Job) -> None:
    """Write model.engine, and built.json: its SHA-256 and size, TensorRT's version, options and warnings.

    Raises:
        StageFailed: the file breaks a rule of TensorRT, or one that TensorRT should have.
    """
    params = BuildParams.model_validate(job.params)
    path = executed_file(job.inputs["model"], params.runtime)
    model = onnx.load(path)
    if "package_version" in metadata(model):  # TensorRT itself checks a teacher that was made elsewhere
        refuse_errors(lint_model(model, path, "tensorrt"))
    with open_session(params.device, job.locations["device"]) as session:
        built = session.build(path, job.out / ENGINE, options=params.options)
    (job.out / ENGINE_FACTS).write_text(json.dumps(built, indent=1), encoding="utf-8")
    job.progress(1, 1)
