"""From published folders to what a report shows beside its figures: trainings by epoch, coverage, images."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from calkd_edge.data.prepared import Prepared
from calkd_edge.export.artifacts import HISTORY
from calkd_edge.metrics import per_image as scores
from calkd_edge.metrics import selective
from calkd_edge.records import CoverageCurve, Epoch, Pictures, Recommendation
from calkd_edge.release.gates.evidence import Evidence
from calkd_edge.release.report.pictures import pictures

MOST_EPOCHS = 200
"""Of a longer training so many epochs are kept, in equal steps with the first and the last."""


def training(folder: Path) -> tuple[Epoch, ...]:
    """The history of a training; of weights that were trained elsewhere there is none."""
    lines = [json.loads(line) for line in (folder / HISTORY).read_text(encoding="utf-8").splitlines()]
    epochs = [line for line in lines if "epoch" in line]
    if len(epochs) > MOST_EPOCHS:
        epochs = [epochs[k] for k in np.linspace(0, len(epochs) - 1, MOST_EPOCHS).round().astype(int)]
    return tuple(_epoch(line) for line in epochs)


def _epoch(line: Mapping[str, float]) -> Epoch:
    terms = [value for key, value in line.items() if key.startswith("train_")]
    return Epoch(
        epoch=int(line["epoch"]),
        loss=_finite(math.fsum(terms)) if terms else None,
        top1=_finite(line.get("calibration_top1")),
        nll=_finite(line.get("calibration_nll")),
    )


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def coverage(labelled: Iterable[tuple[Evidence, str]]) -> tuple[CoverageCurve, ...]:
    """The coverage curve of every file of the release that was scored, each with its row's name."""
    curves = []
    for item, label in labelled:
        predictions = item.predictions
        if predictions is None or not item.measurement.is_released:
            continue
        p = predictions.probabilities
        confidence = scores.confidence(predictions.logits) if p is None else p.max(axis=1)
        right = scores.top1(predictions.logits) == predictions.labels
        points = selective.coverage_curve(confidence, right)
        curves.append(CoverageCurve(measurement=label, points=points))
    return tuple(curves)


def shown_pictures(
    evidence: Sequence[Evidence], recommended: Sequence[Recommendation], data: Path
) -> tuple[Pictures, ...]:
    """The test images that a report shows.

    Args:
        evidence: all measurements.
        recommended: what ships where.
        data: folder of the prepared data.
    """
    images = Prepared.open(data).images
    return pictures(evidence, recommended, lambda rows: images[rows])
