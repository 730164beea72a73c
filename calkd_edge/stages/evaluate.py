"""evaluate: score what the shipped file answered on the test split, and prove it; opens no device.

Proven are the fold, and that a rounded file answers on its device as it does in simulation.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from calkd_edge.engine.stage import Job
from calkd_edge.errors import StageFailed
from calkd_edge.export.agreement import agreement
from calkd_edge.export.artifacts import (
    CALIBRATION,
    CALIBRATION_PREDICTIONS,
    EXECUTED,
    SIMULATED,
    TEST_PREDICTIONS,
)
from calkd_edge.export.proof import check_probabilities, prove
from calkd_edge.metrics import quality
from calkd_edge.records import Calibration, Predictions
from calkd_edge.release.gates.evidence import paired

VERSION = 3
"""Raised by hand when what this stage writes changes."""


def run(job: Job) -> None:
    """Write predictions and quality, calibrated and not, and calibration.json with its proof.

    Raises:
        StageFailed: the fold is not what was fitted, or the device answers otherwise than the file says.
    """
    text = (job.inputs["calibration"] / CALIBRATION).read_text(encoding="utf-8")
    calibration = Calibration.model_validate_json(text)
    raw = Predictions.load(job.inputs["raw"] / CALIBRATION_PREDICTIONS)
    folded = Predictions.load(job.inputs["final"] / CALIBRATION_PREDICTIONS)
    executed = json.loads((job.inputs["final"] / EXECUTED).read_text(encoding="utf-8"))
    if "simulated" in job.inputs:
        executed["simulated"] = as_simulated(folded, Predictions.load(job.inputs["simulated"] / SIMULATED))
    proof = prove(raw, folded, calibration, another_build="built" in executed)
    found = Predictions.load(job.inputs["final"] / TEST_PREDICTIONS)
    check_probabilities(found)
    found.save(job.out / "predictions.npz")
    uncalibrated = calibration.affine.undo(found.logits).astype(np.float32)
    Predictions(uncalibrated, found.labels, found.indices).save(job.out / "uncalibrated.npz")
    answers = (("quality", found.logits, found.probabilities), ("uncalibrated", uncalibrated, None))
    for place, (name, logits, probabilities) in enumerate(answers):
        scored = quality(
            logits,
            found.labels,
            bins=job.params["bins"],
            seed=job.params["seed"],
            thresholds=job.params["thresholds"],
            probabilities=probabilities,
        )
        (job.out / f"{name}.json").write_text(scored.model_dump_json(indent=1), encoding="utf-8")
        job.progress(place + 1, 2)
    proven = calibration.model_copy(update={"proof": proof})
    (job.out / CALIBRATION).write_text(proven.model_dump_json(indent=1), encoding="utf-8")
    (job.out / EXECUTED).write_text(json.dumps(executed, indent=1), encoding="utf-8")


def as_simulated(found: Predictions, simulated: Predictions) -> dict[str, Any]:
    """How near a device's answers are to the file's simulation, on the images that both saw.

    Raises:
        StageFailed: they say different things: int8 products that saturate, a fallback, another rounding.
    """
    pair = paired(found, simulated)
    if pair is None:
        raise StageFailed(
            "the device answered none of the images of the simulation",
            remedy="This is a defect of calkd-edge: please report it.",
        )
    near = agreement(pair.own, pair.reference, exact=False)
    if not near.sound:
        raise StageFailed(
            "the outputs of the file on its device differ from its simulation "
            f"{near.description(len(pair.labels))}",
            remedy="Do not ship it there: its runtime computes int8 in another way. Take another runtime, or "
            "leave that device out (--skip-device).",
        )
    return {"images": len(pair.labels), **near._asdict()}
