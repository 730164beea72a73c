"""Which file of a precision a runtime executes, with which options, and its outputs on a device."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from calkd_edge.agent.predict import MOST_IMAGES
from calkd_edge.devices.session import open_session
from calkd_edge.engine.stage import Job
from calkd_edge.export.artifacts import CONVERSION, ENGINE, ENGINE_FACTS, converted_file, executed_file
from calkd_edge.onnx_model.sizes import images_at_once
from calkd_edge.records import FloatArray, Json
from calkd_edge.stages.params import DeviceParams


@dataclass(frozen=True)
class Executable:
    """One file with one set of options.

    Attributes:
        path: the file.
        options: of the runtime that opens it.
        built: how it was compiled on the device; None for a file that is not compiled.
        images_per_run: as many as it takes at once, or as memory allows.
        converted: its agreement with the ONNX file it was made from; None for a file that was not converted.
    """

    path: Path
    options: dict[str, Any]
    built: dict[str, Any] | None = None
    images_per_run: int = MOST_IMAGES
    converted: dict[str, Any] | None = None


def executable_of(job: Job, params: DeviceParams) -> Executable:
    """The file that a job runs on a device, and the options it is opened with."""
    options: dict[str, Any] = dict(params.options)
    if "converted" in job.inputs:
        folder = job.inputs["converted"]
        facts = json.loads((folder / CONVERSION).read_text(encoding="utf-8"))
        sealed = {**options, "sha256": facts["sha256"]}
        return Executable(folder / converted_file(params.runtime), sealed, images_per_run=1, converted=facts)
    if "engine" not in job.inputs:
        path = executed_file(job.inputs["model"], params.runtime, options)
        return Executable(path, options, images_per_run=images_at_once(onnx.load(path)))
    built = json.loads((job.inputs["engine"] / ENGINE_FACTS).read_text(encoding="utf-8"))
    most = min(MOST_IMAGES, int(built["options"]["max_images"]))
    return Executable(job.inputs["engine"] / ENGINE, {**options, "sha256": built["sha256"]}, built, most)


def outputs_of(
    job: Job, params: DeviceParams, executable: Executable, images: Path
) -> tuple[dict[str, FloatArray], dict[str, Json]]:
    """Every output by name for uint8 images [N, 3, H, W] in a .npy, on the job's device; the options used.

    The images are removed.
    """
    with open_session(params.device, job.locations["device"]) as session:
        outputs = session.predict(
            executable.path,
            images,
            runtime=params.runtime,
            options=executable.options,
            images_per_run=executable.images_per_run,
            progress=job.progress,
        )
    images.unlink()
    return outputs
