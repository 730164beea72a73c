"""Which file of a precision a runtime executes, with which options, and its outputs on a device."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from calkd_edge.agent.predict import MOST_IMAGES
from calkd_edge.devices.session import open_session
from calkd_edge.engine.manifest import published_sha256
from calkd_edge.engine.stage import Job
from calkd_edge.errors import StoreError
from calkd_edge.export.artifacts import CONVERSION, ENGINE, ENGINE_FACTS, converted_file, executed_file
from calkd_edge.files import sha256_of
from calkd_edge.onnx_model.sizes import images_at_once
from calkd_edge.records import FloatArray, Json
from calkd_edge.stages.params import DeviceParams


@dataclass(frozen=True)
class Executable:
    """One file with one set of options.

    Attributes:
        path: the file.
        sha256: of its content, as published.
        options: of the runtime that opens it.
        built: how it was compiled on the device; None for a file that is not compiled.
        images_per_run: as many as it takes at once, or as memory allows.
        converted: its agreement with the ONNX file it was made from; None for a file that was not converted.
    """

    path: Path
    sha256: str
    options: dict[str, Any]
    built: dict[str, Any] | None = None
    images_per_run: int = MOST_IMAGES
    converted: dict[str, Any] | None = None

    def check(self) -> None:
        """Make sure that the file is as it was published: before it is measured, and after.

        Raises:
            StoreError: it has changed.
        """
        if sha256_of(self.path) != self.sha256:
            raise StoreError(
                f"{self.path} has changed since it was published",
                remedy=f"Remove its folder and run again: rm -r {self.path.parent}",
            )


def executable_of(job: Job, params: DeviceParams) -> Executable:
    """The file that a job runs on a device, as it was published, and the options it is opened with.

    Raises:
        StoreError: it has changed since.
    """
    executable = _executable_of(job, params)
    executable.check()
    return executable


def _executable_of(job: Job, params: DeviceParams) -> Executable:
    options: dict[str, Any] = dict(params.options)
    if "converted" in job.inputs:
        folder = job.inputs["converted"]
        facts = json.loads((folder / CONVERSION).read_text(encoding="utf-8"))
        sealed = {**options, "sha256": facts["sha256"]}
        path = folder / converted_file(params.runtime)
        return Executable(path, published_sha256(path), sealed, images_per_run=1, converted=facts)
    if "engine" not in job.inputs:
        path = executed_file(job.inputs["model"], params.runtime, options)
        return Executable(
            path, published_sha256(path), options, images_per_run=images_at_once(onnx.load(path))
        )
    built = json.loads((job.inputs["engine"] / ENGINE_FACTS).read_text(encoding="utf-8"))
    most = min(MOST_IMAGES, int(built["options"]["max_images"]))
    path = job.inputs["engine"] / ENGINE
    return Executable(path, published_sha256(path), {**options, "sha256": built["sha256"]}, built, most)


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
    executable.check()
    images.unlink()
    return outputs
