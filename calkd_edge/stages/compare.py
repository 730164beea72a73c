"""compare: other maps for the same confidence, cross-fitted on the calibration split.

A method is chosen on the calibration split, never on test: these figures serve that choice. Tables are
measured here although no file can carry them. Opens no device.
"""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import numpy as np

from calkd_edge.calibration import CALIBRATORS
from calkd_edge.calibration.crossfit import cross_fit, cross_fitted_confidence
from calkd_edge.calibration.tables import TABLES
from calkd_edge.engine.stage import Job
from calkd_edge.export.artifacts import CALIBRATION_PREDICTIONS, COMPARED
from calkd_edge.metrics import ece_with_bounds, intervals
from calkd_edge.metrics import per_image as scores
from calkd_edge.records import BoolArray, ComparedMethod, Estimate, FloatArray, Predictions
from calkd_edge.stages.held_out import FITTING
from calkd_edge.stages.params import CompareParams


def run(job: Job) -> None:
    """Write compare.json: one row for confidence as it is, then one for each method."""
    params = CompareParams.model_validate(job.params)
    predictions = Predictions.load(job.inputs["predictions"] / CALIBRATION_PREDICTIONS)
    if params.held_out:
        predictions = Predictions(
            predictions.logits[FITTING], predictions.labels[FITTING], predictions.indices[FITTING]
        )
    classes = tuple(str(number) for number in range(predictions.logits.shape[1]))
    rows = [_of_logits("as it is", predictions.logits.astype(np.float64), predictions, params)]
    for done, method in enumerate(params.methods, start=1):
        name, settings = method.name, method.settings
        if name in TABLES:
            rows.append(_of_table(name, partial(TABLES.load(name), **settings), predictions, params))
        else:
            fit = partial(CALIBRATORS.load(name), classes=classes, **settings)
            _, folds = cross_fit(fit, predictions.logits, predictions.labels, seed=params.seed)
            rows.append(_of_logits(name, folds.apply(predictions.logits), predictions, params))
        job.progress(done, len(params.methods))
    (job.out / COMPARED).write_text(
        json.dumps([row.model_dump(mode="json") for row in rows], indent=1), encoding="utf-8"
    )


def _of_logits(
    name: str, logits: FloatArray, predictions: Predictions, params: CompareParams
) -> ComparedMethod:
    confidence, hit = scores.confidence(logits), scores.top1(logits) == predictions.labels
    (nll,) = intervals.mean_bounds(scores.nll_per_image(logits, predictions.labels), seed=params.seed)
    return ComparedMethod(
        method=name,
        ships=True,
        images=len(hit),
        nll=Estimate(**nll._asdict()),
        top1=Estimate(**intervals.clopper_pearson(int(hit.sum()), len(hit))._asdict()),
        **_of_confidence(confidence, hit, params),
    )


def _of_table(name: str, table: Any, predictions: Predictions, params: CompareParams) -> ComparedMethod:
    confidence, hit = (
        scores.confidence(predictions.logits),
        scores.top1(predictions.logits) == predictions.labels,
    )
    mapped = cross_fitted_confidence(table, confidence, hit, seed=params.seed)
    return ComparedMethod(
        method=name,
        ships=False,
        images=len(hit),
        nll=None,
        top1=Estimate(**intervals.clopper_pearson(int(hit.sum()), len(hit))._asdict()),
        **_of_confidence(mapped, hit, params),
    )


def _of_confidence(confidence: FloatArray, hit: BoolArray, params: CompareParams) -> dict[str, Estimate]:
    (brier,) = intervals.mean_bounds((confidence - hit) ** 2, seed=params.seed)
    return {
        "ece": ece_with_bounds(confidence, hit, bins=params.bins, seed=params.seed),
        "brier_toplabel": Estimate(**brier._asdict()),
    }
