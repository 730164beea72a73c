"""evaluate-corrupted: scores of the shipped file on corrupted images; opens no device."""

from __future__ import annotations

import json

import numpy as np

from calkd_edge.data.corruptions import SEVERITIES
from calkd_edge.engine.stage import Job
from calkd_edge.export.artifacts import CORRUPTED, TEST_PREDICTIONS, corrupted_predictions
from calkd_edge.metrics import quality
from calkd_edge.records import Corrupted, Predictions
from calkd_edge.stages.params import EvaluateCorruptedParams


def run(job: Job) -> None:
    """Write corrupted.json: scores of the clean images, then of every corruption and severity."""
    params = EvaluateCorruptedParams.model_validate(job.params)
    variants = [(name, severity) for name in params.corruptions for severity in SEVERITIES]
    folder = job.inputs["predictions"]
    corrupted = [
        Predictions.load(folder / corrupted_predictions(name, severity)) for name, severity in variants
    ]
    clean = _same_images(Predictions.load(job.inputs["clean"] / TEST_PREDICTIONS), corrupted[0])
    corrupted = [_same_images(predictions, clean) for predictions in corrupted]
    rows = []
    labelled = zip((("none", 0), *variants), (clean, *corrupted), strict=True)
    for (name, severity), predictions in labelled:
        rows.append(_scored(name, severity, predictions, params).model_dump(mode="json"))
        job.progress(len(rows), len(variants) + 1)
    (job.out / CORRUPTED).write_text(json.dumps(rows, indent=1), encoding="utf-8")


def _same_images(predictions: Predictions, other: Predictions) -> Predictions:
    """The predictions for images that `other` has too."""
    rows = np.flatnonzero(np.isin(predictions.indices, other.indices))
    probabilities = None if predictions.probabilities is None else predictions.probabilities[rows]
    return Predictions(
        predictions.logits[rows], predictions.labels[rows], predictions.indices[rows], probabilities
    )


def _scored(name: str, severity: int, predictions: Predictions, params: EvaluateCorruptedParams) -> Corrupted:
    scored = quality(
        predictions.logits,
        predictions.labels,
        bins=params.bins,
        seed=params.seed,
        thresholds=params.thresholds,
        probabilities=predictions.probabilities,
    )
    return Corrupted(
        corruption=name,
        severity=severity,
        images=scored.images,
        top1=scored.top1,
        nll=scored.nll,
        ece=scored.ece,
        mean_confidence=scored.mean_confidence,
        thresholds=scored.thresholds,
    )
