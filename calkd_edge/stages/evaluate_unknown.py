"""evaluate-unknown: how often the shipped file is confident on images of no class; opens no device."""

from __future__ import annotations

import json

import numpy as np

from calkd_edge.engine.stage import Job
from calkd_edge.export.artifacts import TEST_PREDICTIONS, UNKNOWN_FACTS, UNKNOWN_SCORES
from calkd_edge.metrics import intervals, per_image
from calkd_edge.metrics.inputs import reaches
from calkd_edge.metrics.selective import auroc_of_correctness
from calkd_edge.records import Estimate, Predictions, Reached, Unknown
from calkd_edge.stages.params import EvaluateUnknownParams


def run(job: Job) -> None:
    """Write unknown.json: the share of unknown images that reach each threshold, with bounds."""
    params = EvaluateUnknownParams.model_validate(job.params)
    facts = json.loads((job.inputs["unknown"] / UNKNOWN_FACTS).read_text(encoding="utf-8"))
    with np.load(job.inputs["predictions"] / UNKNOWN_SCORES, allow_pickle=False) as stored:
        confidence = stored["confidence"]
    tested = Predictions.load(job.inputs["clean"] / TEST_PREDICTIONS)
    probabilities = tested.probabilities
    known = per_image.confidence(tested.logits) if probabilities is None else probabilities.max(axis=1)
    result = Unknown(
        measurement="",
        source=facts["source"],
        images=len(confidence),
        left_out=facts["left_out"],
        shared_classes=tuple(facts["shared_classes"]),
        mean_confidence=float(confidence.mean(dtype=np.float64)),
        auroc=auroc_of_correctness(
            np.concatenate([known, confidence]), np.arange(len(known) + len(confidence)) < len(known)
        ),
        thresholds=tuple(
            Reached(threshold=threshold, share=_share(reaches(confidence, threshold)))
            for threshold in params.thresholds
        ),
    )
    (job.out / UNKNOWN_FACTS).write_text(result.model_dump_json(indent=1), encoding="utf-8")


def _share(reached: np.ndarray) -> Estimate:
    return Estimate(**intervals.clopper_pearson(int(reached.sum()), len(reached))._asdict())
