"""The notes of a measurement: how its file was made, and what it computes, as sentences."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from calkd_edge.agent.runtimes import RUNTIMES
from calkd_edge.export.agreement import APART
from calkd_edge.export.artifacts import LAYERS_IN_FLOAT, LINT, TORCH_PARITY
from calkd_edge.records import Lint
from calkd_edge.release.report.conclusions import IN_FLOAT32


def notes_of(executed: Mapping[str, Any], calibrated_folder: Path, *, calibrated: bool) -> tuple[str, ...]:
    """The notes of one file on one device.

    Args:
        executed: executed.json of the stage `evaluate`.
        calibrated_folder: of the stage `calibrate`.
        calibrated: whether it is the calibrated measurement.
    """
    return (*_build_notes(executed), *_file_notes(calibrated_folder, calibrated))


def _file_notes(calibrated_folder: Path, calibrated: bool) -> tuple[str, ...]:
    if not calibrated:
        return ("computed by undoing the calibration of the executed file",)
    notes = (*_float_layer_notes(calibrated_folder), *_lint_notes(calibrated_folder))
    path = calibrated_folder / TORCH_PARITY
    if not path.is_file():
        return notes
    parity = json.loads(path.read_text(encoding="utf-8"))
    largest, images = parity["max_logit_difference"], int(parity["images"])
    difference = f"uncalibrated, torch and the runtime differ by {largest:.2g} in a logit on {images} images"
    return (difference, *notes)


def _build_notes(executed: Mapping[str, Any]) -> tuple[str, ...]:
    """How an engine or a converted file was made, and whether int8 is executed as written."""
    notes = []
    built, converted, simulated = (executed.get(key) for key in ("built", "converted", "simulated"))
    if converted is not None:
        notes.append(f"made from the ONNX file: {_agreement(converted)}")
    if built is not None:
        warnings = f", with {len(built['warnings'])} warnings" if built["warnings"] else ""
        how = f"by TensorRT {built['tensorrt']} in {built['seconds']:.0f} s, TF32 off{warnings}"
        notes.append(f"built on the device {how}")
    if simulated is not None:
        notes.append(f"executed on the device, and simulated as written: {_agreement(simulated)}")
    return tuple(notes)


def _agreement(facts: Mapping[str, float]) -> str:
    difference = f"{facts['max_logit_difference']:.2g} in a logit on {facts['images']:,} images"
    limit = ""
    if (moved := facts.get("sensitivity") or 0.0) > APART:
        limit = f"; that says little, since one grey level in each pixel moves its logits by {moved:.0%}"
    return f"they differ by {difference}, and agree on {facts['agreement']:.1%} of them{limit}"


def _float_layer_notes(calibrated_folder: Path) -> tuple[str, ...]:
    """Which layers of an int8 file stayed in float32, and why."""
    path = calibrated_folder / LAYERS_IN_FLOAT
    if not path.is_file():
        return ()
    choice = json.loads(path.read_text(encoding="utf-8"))
    paths = [layer["layer"] for layer in choice["in_float"]]
    names = [path.removeprefix("model.backbone.").removesuffix(".weight") for path in paths]
    images = f"on {choice['images']:,} calibration images"
    loss = f"{100 * choice['drop_all_int8']:.1f} points of top-1 {images}"
    if not names:
        change = f"{0.0 - 100 * choice['drop_all_int8']:+.1f} points {images}"
        return (f"all {choice['layers']} layers are in int8: that changes top-1 by {change}",)
    kept = f"{len(names)} of {choice['layers']} layers {IN_FLOAT32} ({', '.join(names)})"
    return (f"{kept}: all in int8 lost {loss}, these lose {100 * choice['drop']:.1f}",)


def _lint_notes(calibrated_folder: Path) -> tuple[str, ...]:
    """Why TensorRT would refuse the canonical file, or ONNX Runtime the file that it runs."""
    runtimes: dict[str, list[str]] = {}
    for record in json.loads((calibrated_folder / LINT).read_text(encoding="utf-8")):
        lint = Lint.model_validate(record)
        for error in lint.errors:
            names = runtimes.setdefault(f"{error.message} (at {error.node or 'the file'})", [])
            names.append(RUNTIMES[lint.target].title)
    return tuple(f"{' and '.join(names)} would not run it: {reason}" for reason, names in runtimes.items())
