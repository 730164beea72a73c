"""calibrate: fit on the calibration split, fold into the file; opens no device.

The proof that folding equals dividing needs the folded file to run: `evaluate` makes it, from the device's
predictions for these same images.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import onnx

from calkd_edge.calibration import CALIBRATORS
from calkd_edge.calibration.crossfit import cross_fit
from calkd_edge.calibration.fitted import Fitted
from calkd_edge.engine.stage import Job
from calkd_edge.errors import StageFailed
from calkd_edge.export.artifacts import (
    CALIBRATION,
    CALIBRATION_PREDICTIONS,
    CANONICAL,
    CROSS_FIT,
    EXECUTED,
    FOR_CPU,
    LAYERS_IN_FLOAT,
    LINT,
    REFERENCE,
    TORCH_PARITY,
)
from calkd_edge.export.comparison import compare_logits
from calkd_edge.export.proof import NETWORK_ROUNDINGS, roundoff_of
from calkd_edge.metrics.guarantee import answers, guaranteed_threshold
from calkd_edge.onnx_model.fold import Folded, fold
from calkd_edge.onnx_model.graph import class_names, metadata, set_metadata
from calkd_edge.onnx_model.lint import lint_model, refuse_errors
from calkd_edge.quantization.int8_mixed import CHOICE
from calkd_edge.records import (
    Calibration,
    GuaranteedThreshold,
    Predictions,
)
from calkd_edge.stages.held_out import HELD_OUT, rows_of
from calkd_edge.stages.params import CalibrateParams


def run(job: Job) -> None:
    """Write model.onnx calibrated, model.cpu.onnx likewise, calibration.json, lint.json and others."""
    params = CalibrateParams.model_validate(job.params)
    predictions = Predictions.load(job.inputs["predictions"] / CALIBRATION_PREDICTIONS)
    if "reference" in job.inputs:
        executed = json.loads((job.inputs["predictions"] / EXECUTED).read_text(encoding="utf-8"))
        roundoff = roundoff_of(executed["session_options"])
        parity = check_torch_parity(predictions, job.inputs["reference"] / REFERENCE, roundoff=roundoff)
        (job.out / TORCH_PARITY).write_text(json.dumps(parity, indent=1), encoding="utf-8")
    model = onnx.load(job.inputs["model"] / CANONICAL)
    calibrator = CALIBRATORS.load(params.calibrator)
    classes = class_names(model)
    chooses_layers = CHOICE in metadata(model)
    split = HELD_OUT if chooses_layers else "calibration"
    rows = rows_of(split)
    logits, labels = predictions.logits[rows], predictions.labels[rows]
    fit = partial(calibrator, classes=classes, **params.settings)
    fitted: Fitted = fit(logits, labels)
    folded = fold(model, fitted.affine)
    calibration = _calibration(params.calibrator, fitted, folded, split, len(labels))
    thresholds: list[GuaranteedThreshold] = []
    if params.guaranteed_precisions:
        _, folds = cross_fit(fit, logits, labels)
        (job.out / CROSS_FIT).write_text(folds.model_dump_json(), encoding="utf-8")
        chosen_by = answers(folds.apply(logits), labels)
        thresholds = [
            guaranteed_threshold(chosen_by, precision) for precision in params.guaranteed_precisions
        ]
    entries = {
        "calibration": calibration.model_dump_json(exclude={"proof", "warnings"}),
        "thresholds": json.dumps([_of_metadata(one) for one in thresholds]) if thresholds else None,
    }
    if chooses_layers:
        (job.out / LAYERS_IN_FLOAT).write_text(metadata(model)[CHOICE], encoding="utf-8")
    set_metadata(model, entries)
    onnx.save(model, job.out / CANONICAL)
    findings, executed = [lint_model(model, job.out / CANONICAL, "tensorrt")], (model, job.out / CANONICAL)
    if (job.inputs["model"] / FOR_CPU).is_file():
        derived = onnx.load(job.inputs["model"] / FOR_CPU)
        fold(derived, fitted.affine)
        set_metadata(derived, entries)
        executed = derived, job.out / FOR_CPU
        onnx.save(*executed)
    findings.append(lint_model(*executed, "onnxruntime"))
    if "package_version" in metadata(model):  # a teacher made elsewhere has run already, and does not ship
        refuse_errors(findings[-1])
    (job.out / LINT).write_text(
        json.dumps([lint_result.model_dump() for lint_result in findings], indent=1), encoding="utf-8"
    )
    (job.out / CALIBRATION).write_text(calibration.model_dump_json(indent=1), encoding="utf-8")


def _of_metadata(one: GuaranteedThreshold) -> dict[str, float | None]:
    """What a reader of the file needs of a threshold."""
    return {"precision": one.precision, "threshold": one.threshold, "level": one.level}


def check_torch_parity(
    predictions: Predictions, reference: Path, *, roundoff: float = 0.0
) -> dict[str, float]:
    """Compare the runtime's logits with torch's, image by image; returns the figures.

    Args:
        predictions: of the runtime.
        reference: the file of torch's logits.
        roundoff: of the runtime's numbers, where it is coarser than float32's.

    Raises:
        StageFailed: they differ by more than two computations in that precision may.
    """
    with np.load(reference, allow_pickle=False) as stored:
        logits, indices = stored["logits"], stored["indices"]
    _, rows, reference_rows = np.intersect1d(predictions.indices, indices, return_indices=True)
    compared = compare_logits(predictions.logits[rows], logits[reference_rows])
    difference = compared.max_difference
    allowed = compared.float32_tolerance + NETWORK_ROUNDINGS * roundoff * compared.largest
    if not difference <= allowed:
        raise StageFailed(
            f"the exported model differs from torch by {difference:.3g} on {compared.images} images "
            f"(allowed {allowed:.3g})",
            remedy="Do not ship it. Another version of torch or onnxscript may export it correctly.",
        )
    return {"images": compared.images, "max_logit_difference": difference, "allowed": allowed}


def _calibration(method: str, fitted: Fitted, folded: Folded, split: str, images: int) -> Calibration:
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
        fold=folded.how,
        fold_reason=folded.reason,
    )
