"""evaluate: score what the shipped file answered on the test split, and prove it; opens no device.

It proves the fold, and that a quantized file computes on its device what it computes in simulation.
"""

from __future__ import annotations

import json

import numpy as np

from calkd_edge.calibration.crossfit import FoldMaps
from calkd_edge.engine.stage import Job
from calkd_edge.errors import StageFailed
from calkd_edge.export.agreement import agreement
from calkd_edge.export.artifacts import (
    CALIBRATION,
    CALIBRATION_PREDICTIONS,
    CROSS_FIT,
    EXECUTED,
    GUARANTEED,
    SIMULATED,
    SIMULATED_MOVED,
    TEST_PREDICTIONS,
)
from calkd_edge.export.proof import ROUNDINGS, check_probabilities, prove, roundoff_of
from calkd_edge.metrics import quality
from calkd_edge.metrics.guarantee import answers, guaranteed_threshold
from calkd_edge.records import BoolArray, Calibration, FloatArray, Predictions
from calkd_edge.release.gates.evidence import paired
from calkd_edge.stages.held_out import rows_of
from calkd_edge.stages.params import EvaluateParams


def run(job: Job) -> None:
    """Write predictions and quality, calibrated and not, and calibration.json with its proof.

    Raises:
        StageFailed: the fold is not what was fitted, or the device computes something else than the file.
    """
    params = EvaluateParams.model_validate(job.params)
    text = (job.inputs["calibration"] / CALIBRATION).read_text(encoding="utf-8")
    calibration = Calibration.model_validate_json(text)
    raw = Predictions.load(job.inputs["raw"] / CALIBRATION_PREDICTIONS)
    folded = Predictions.load(job.inputs["final"] / CALIBRATION_PREDICTIONS)
    executed = json.loads((job.inputs["final"] / EXECUTED).read_text(encoding="utf-8"))
    if "simulated" in job.inputs:
        files = (job.inputs["simulated"] / name for name in (SIMULATED, SIMULATED_MOVED))
        executed["simulated"] = compare_with_simulation(folded, *map(Predictions.load, files))
    roundoff = roundoff_of(executed["session_options"])
    proof = prove(raw, folded, calibration, rounding=ROUNDINGS * roundoff, another_build="built" in executed)
    predictions = Predictions.load(job.inputs["final"] / TEST_PREDICTIONS)
    check_probabilities(predictions, roundoff=roundoff)
    predictions.save(job.out / "predictions.npz")
    uncalibrated = calibration.affine.undo(predictions.logits).astype(np.float32)
    Predictions(uncalibrated, predictions.labels, predictions.indices).save(job.out / "uncalibrated.npz")
    variants = (
        ("quality", predictions.logits, predictions.probabilities),
        ("uncalibrated", uncalibrated, None),
    )
    for done, (name, logits, probabilities) in enumerate(variants, start=1):
        scored = quality(
            logits,
            predictions.labels,
            bins=params.bins,
            seed=params.seed,
            thresholds=params.thresholds,
            probabilities=probabilities,
            by_class=name == "quality",
        )
        (job.out / f"{name}.json").write_text(scored.model_dump_json(indent=1), encoding="utf-8")
        job.progress(done, 2)
    if params.guaranteed_precisions:
        folds = FoldMaps.model_validate_json((job.inputs["calibration"] / CROSS_FIT).read_bytes())
        rows = rows_of(calibration.split)
        chosen_by = answers(folds.apply(raw.logits[rows]), raw.labels[rows])
        guaranteed = [
            guaranteed_threshold(chosen_by, precision, test=_confidences(predictions)).model_dump()
            for precision in params.guaranteed_precisions
        ]
        (job.out / GUARANTEED).write_text(json.dumps(guaranteed, indent=1), encoding="utf-8")
    proven = calibration.model_copy(update={"proof": proof})
    (job.out / CALIBRATION).write_text(proven.model_dump_json(indent=1), encoding="utf-8")
    (job.out / EXECUTED).write_text(json.dumps(executed, indent=1), encoding="utf-8")


def _confidences(predictions: Predictions) -> tuple[FloatArray, BoolArray]:
    """Confidence as the file returned it, and whether the answer is right."""
    assert predictions.probabilities is not None  # check_probabilities refuses a file without
    probabilities = predictions.probabilities
    return probabilities.max(axis=1), probabilities.argmax(axis=1) == predictions.labels


def compare_with_simulation(
    executed: Predictions, simulated: Predictions, moved: Predictions | None = None
) -> dict[str, float | bool | None]:
    """Agreement of a device's predictions with the file's simulation, on the images that both have.

    Args:
        executed: on the device.
        simulated: every operator computed as written.
        moved: the same for some of those images with every pixel moved by one grey level.

    Raises:
        StageFailed: they disagree: int8 products that saturate, a fallback, another rounding.
    """
    pair = paired(executed, simulated)
    if pair is None:
        raise StageFailed(
            "the device has predictions for none of the simulated images",
            remedy="This is a defect of calkd-edge: please report it.",
        )
    shifted = paired(moved, simulated) if moved is not None else None
    yardstick = (shifted.candidate, shifted.reference) if shifted is not None else None
    near = agreement(pair.candidate, pair.reference, exact=False, moved=yardstick)
    if not near.sound:
        raise StageFailed(
            "the outputs of the file on its device differ from its simulation "
            f"{near.description(len(pair.labels))}",
            remedy="Do not ship it there: its runtime computes int8 in another way. Use another runtime, "
            "or leave that device out (--skip-device).",
        )
    return {"images": len(pair.labels), **near._asdict()}
