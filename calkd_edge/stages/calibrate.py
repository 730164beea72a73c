"""calibrate: fit on the calibration split, fold into the file; opens no device.

The proof that folding equals dividing needs the folded file to run; it is held by `evaluate`, on what the
device returned for these same images.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx

from calkd_edge.calibration import CALIBRATORS
from calkd_edge.calibration.fitted import Fitted
from calkd_edge.engine.stage import Job
from calkd_edge.errors import StageFailed
from calkd_edge.export.artifacts import (
    CALIBRATION,
    CALIBRATION_PREDICTIONS,
    CANONICAL,
    FOR_CPU,
    LAYERS_IN_FLOAT,
    LINT,
    REFERENCE,
    TORCH_PARITY,
)
from calkd_edge.export.comparison import compare_logits
from calkd_edge.onnx_model.fold import Folded, fold
from calkd_edge.onnx_model.graph import class_names, metadata, set_metadata
from calkd_edge.onnx_model.lint import lint_model, refuse_errors
from calkd_edge.quantization.cpu import derive_for_cpu
from calkd_edge.quantization.int8_mixed import CHOICE
from calkd_edge.records import Calibration, Predictions
from calkd_edge.stages.quantize import FITTING

VERSION = 5
"""Raised by hand when what this stage writes changes."""


def run(job: Job) -> None:
    """Write model.onnx calibrated, model.cpu.onnx likewise, calibration.json, lint.json and others."""
    found = Predictions.load(job.inputs["predictions"] / CALIBRATION_PREDICTIONS)
    if "reference" in job.inputs:
        parity = check_torch_parity(found, job.inputs["reference"] / REFERENCE)
        (job.out / TORCH_PARITY).write_text(json.dumps(parity, indent=1), encoding="utf-8")
    model = onnx.load(job.inputs["model"] / CANONICAL)
    calibrator = CALIBRATORS.load(job.params["calibrator"])
    classes = class_names(model)
    was_chosen = CHOICE in metadata(model)
    rows = FITTING if was_chosen else slice(None)
    logits, labels = found.logits[rows], found.labels[rows]
    fitted: Fitted = calibrator(logits, labels, classes, **job.params["settings"])
    how = fold(model, fitted.affine)
    split = "held-out calibration" if was_chosen else "calibration"
    calibration = _calibration(job.params["calibrator"], fitted, how, split, len(labels))
    set_metadata(model, {"calibration": calibration.model_dump_json(exclude={"proof", "warnings"})})
    if was_chosen:
        (job.out / LAYERS_IN_FLOAT).write_text(metadata(model)[CHOICE], encoding="utf-8")
    onnx.save(model, job.out / CANONICAL)
    linted, executed = [lint_model(model, job.out / CANONICAL, "tensorrt")], (model, job.out / CANONICAL)
    if (job.inputs["model"] / FOR_CPU).is_file():
        executed = derive_for_cpu(model), job.out / FOR_CPU
        onnx.save(*executed)
    linted.append(lint_model(*executed, "onnxruntime"))
    if "package_version" in metadata(model):  # a teacher's file from outside ran already, and does not ship
        refuse_errors(linted[-1])
    (job.out / LINT).write_text(json.dumps([one.model_dump() for one in linted], indent=1), encoding="utf-8")
    (job.out / CALIBRATION).write_text(calibration.model_dump_json(indent=1), encoding="utf-8")


def check_torch_parity(predictions: Predictions, reference: Path) -> dict[str, float]:
    """Compare the runtime's logits with torch's, image by image; returns the differences.

    Raises:
        StageFailed: they differ by more than float32 computations may.
    """
    with np.load(reference, allow_pickle=False) as stored:
        logits, indices = stored["logits"], stored["indices"]
    _, rows, reference_rows = np.intersect1d(predictions.indices, indices, return_indices=True)
    compared = compare_logits(predictions.logits[rows], logits[reference_rows])
    difference, allowed = compared.max_difference, compared.float32_tolerance
    if not difference <= allowed:
        raise StageFailed(
            f"the exported model differs from torch by {difference:.3g} on {compared.images} images "
            f"(allowed {allowed:.3g})",
            remedy="Do not ship it. Try another version of torch or onnxscript.",
        )
    return {"images": compared.images, "max_logit_difference": difference, "allowed": allowed}


def _calibration(method: str, fitted: Fitted, how: Folded, split: str, images: int) -> Calibration:
    affine = fitted.affine
    return Calibration(
        method=method,
        scale=affine.scale,
        bias=affine.bias,
        temperature=affine.temperature,
        se=fitted.se,
        status=fitted.status,
        split=split,
        images=images,
        nll_before=fitted.nll_before,
        nll_after=fitted.nll_after,
        warnings=fitted.warnings,
        fold=how.how,
        fold_reason=how.reason,
    )
