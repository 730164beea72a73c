"""Which one file of a precision a runtime executes, and with which options."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calkd_edge.engine.stage import Job
from calkd_edge.stages.quantize import CANONICAL, FOR_CPU

ENGINE, BUILT = "model.engine", "built.json"
"""What the stage build leaves: an engine, and how it came to be."""


@dataclass(frozen=True)
class Executed:
    """One file with one set of options.

    Attributes:
        path: the file.
        options: of the runtime that opens it.
        built: how it was compiled on the device; None for a file that is run as it is.
    """

    path: Path
    options: dict[str, Any]
    built: dict[str, Any] | None = None


def executed(job: Job) -> Executed:
    """What a job that predicts or measures is to run."""
    options = dict(job.params["options"])
    if "engine" not in job.inputs:
        return Executed(executed_file(job.inputs["model"], job.params["runtime"]), options)
    built = json.loads((job.inputs["engine"] / BUILT).read_text(encoding="utf-8"))
    return Executed(job.inputs["engine"] / ENGINE, {**options, "sha256": built["sha256"]}, built)


def executed_file(folder: Path, runtime: str) -> Path:
    """The one ONNX file of a precision that a runtime takes."""
    derived = folder / FOR_CPU
    return derived if runtime == "onnxruntime" and derived.is_file() else folder / CANONICAL
