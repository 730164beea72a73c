"""evaluate-corrupted: score what the shipped file answered on corrupted images; opens no device."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from calkd_edge.data.corruptions import SEVERITIES
from calkd_edge.engine.stage import Job
from calkd_edge.export.artifacts import CORRUPTED, TEST_PREDICTIONS
from calkd_edge.metrics import quality
from calkd_edge.records import Corrupted, Predictions
from calkd_edge.stages.predict_corrupted import file_of

VERSION = 1
"""Raised by hand when what this stage writes changes."""


def run(job: Job) -> None:
    """Write corrupted.json: figures of the images as they were, then of every corruption and severity."""
    params = job.params
    asked = [(name, severity) for name in params["corruptions"] for severity in SEVERITIES]
    predictions = job.inputs["predictions"]
    found = [Predictions.load(predictions / file_of(name, severity)) for name, severity in asked]
    clean = _same_images(Predictions.load(job.inputs["clean"] / TEST_PREDICTIONS), found[0])
    found = [_same_images(one, clean) for one in found]
    rows = []
    for (name, severity), one in zip((("none", 0), *asked), (clean, *found), strict=True):
        rows.append(_scored(name, severity, one, params).model_dump(mode="json"))
        job.progress(len(rows), len(asked) + 1)
    (job.out / CORRUPTED).write_text(json.dumps(rows, indent=1), encoding="utf-8")


def _same_images(own: Predictions, other: Predictions) -> Predictions:
    """Of some predictions, those of images that the others speak of too."""
    rows = np.flatnonzero(np.isin(own.indices, other.indices))
    probabilities = None if own.probabilities is None else own.probabilities[rows]
    return Predictions(own.logits[rows], own.labels[rows], own.indices[rows], probabilities)


def _scored(name: str, severity: int, found: Predictions, params: Mapping[str, Any]) -> Corrupted:
    scored = quality(
        found.logits,
        found.labels,
        bins=params["bins"],
        seed=params["seed"],
        thresholds=params["thresholds"],
        probabilities=found.probabilities,
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
