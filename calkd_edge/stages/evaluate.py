"""evaluate: score what the shipped file answered on the test split, and prove its fold; opens no device."""

from __future__ import annotations

import json

import numpy as np

from calkd_edge.engine.stage import Job
from calkd_edge.export.proof import check_probabilities, prove
from calkd_edge.metrics import quality
from calkd_edge.records import Calibration, Predictions

VERSION = 2
"""Raised by hand when what this stage writes changes."""


def run(job: Job) -> None:
    """Write predictions and quality, calibrated and not, and calibration.json with its proof."""
    text = (job.inputs["calibration"] / "calibration.json").read_text(encoding="utf-8")
    calibration = Calibration.model_validate_json(text)
    raw = Predictions.load(job.inputs["raw"] / "calibration.npz")
    folded = Predictions.load(job.inputs["final"] / "calibration.npz")
    executed = json.loads((job.inputs["final"] / "executed.json").read_text(encoding="utf-8"))
    proof = prove(raw, folded, calibration, another_build="built" in executed)
    found = Predictions.load(job.inputs["final"] / "test.npz")
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
    (job.out / "calibration.json").write_text(proven.model_dump_json(indent=1), encoding="utf-8")
    (job.out / "executed.json").write_text(json.dumps(executed, indent=1), encoding="utf-8")
