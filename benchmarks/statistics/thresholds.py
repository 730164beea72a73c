"""Does the guaranteed threshold keep its promise? Ten regimes, 2,000 draws each.

A regime is a population of logits whose chance to be right is known for each image, and a calibrator. Each
draw takes a calibration split, fits the map to it and chooses the lowest threshold for a precision by
cross-fitted confidences of the same split, as a release does, and looks up the precision of that threshold in
the population. The promise is missed where it is lower; nominally in at most 5 of 100 draws. Beside it: how
often it is missed where the threshold is chosen by confidences of the fitted map itself. Writes its result
beside itself; half an hour.

    python benchmarks/statistics/thresholds.py
"""

from __future__ import annotations

import json
import math
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from coverage import Regime

from calkd_edge.calibration import CALIBRATORS
from calkd_edge.calibration.crossfit import cross_fit
from calkd_edge.metrics.guarantee import lowest_threshold
from calkd_edge.metrics.per_image import confidence
from calkd_edge.records import Affine, FloatArray, IntArray

DRAWS, POPULATION, NOMINAL = 2000, 100_000, 0.05
PART = 5
"""The precision of a threshold is looked up in every fifth image of the population."""

REGIMES = (
    (Regime(10, 1000, 6.0, 1.0), 0.95, 1.0, "temperature"),
    (Regime(10, 2000, 8.0, 2.0), 0.99, 1.0, "temperature"),
    (Regime(100, 2000, 6.0, 1.5), 0.9, 1.0, "temperature"),
    (Regime(2, 500, 4.0, 0.6), 0.95, 1.0, "temperature"),
    (Regime(10, 5000, 6.0, 1.0), 0.98, 3.0, "temperature"),
    (Regime(10, 300, 5.0, 3.0), 0.9, 2.0, "temperature"),
    (Regime(20, 500, 6.0, 1.0), 0.9, 1.0, "bias"),
    (Regime(20, 500, 6.0, 1.0), 0.9, 1.0, "vector"),
    (Regime(20, 500, 6.0, 1.0), 0.9, 1.0, "affine"),
    (Regime(10, 1000, 6.0, 1.0), 0.95, 1.0, "affine"),
)
"""Classes, calibration images, spread and sharpness of the logits; the wanted precision; how many times
sharper half of the images are than the other half, which no temperature mends; and the calibrator."""


def chosen(calibrated: FloatArray, labels: IntArray, wanted: float) -> float | None:
    """The lowest threshold by calibrated logits."""
    return lowest_threshold(confidence(calibrated), calibrated.argmax(1) == labels, wanted)


def result(number: int) -> dict[str, Any]:
    """What a regime came to."""
    regime, wanted, uneven, calibrator = REGIMES[number]
    draw = np.random.default_rng(number)
    logits = draw.normal(0, regime.spread, (POPULATION, regime.classes)).astype(np.float32)
    logits -= np.logaddexp.reduce(logits, axis=1, keepdims=True)
    chance = np.exp(logits)
    labels = (
        chance.cumsum(axis=1) > draw.random((POPULATION, 1)) * chance.sum(axis=1, keepdims=True)
    ).argmax(1)
    sharp = regime.sharp * np.where(draw.random((POPULATION, 1)) < 0.5, uneven, 1.0)
    shown = (sharp * logits).astype(np.float32)
    fit = partial(CALIBRATORS.load(calibrator), classes=tuple(map(str, range(regime.classes))))

    def precision(threshold: float, affine: Affine) -> tuple[float, float]:
        """The share of right answers that the threshold takes in the population, and its coverage."""
        calibrated = affine.apply(shown[::PART])
        taken = confidence(calibrated) >= threshold
        right = chance[::PART][np.arange(len(taken)), calibrated.argmax(1)][taken]
        return float(right.mean()) if len(right) else 1.0, float(taken.mean())

    missed, missed_by_fit, coverages, none = 0, 0, [], 0
    for _ in range(DRAWS):
        rows = draw.integers(0, POPULATION, regime.images)
        fitted, folds = cross_fit(fit, shown[rows], labels[rows])
        by_fit = chosen(fitted.affine.apply(shown[rows]), labels[rows], wanted)
        missed_by_fit += by_fit is not None and precision(by_fit, fitted.affine)[0] < wanted
        threshold = chosen(folds.apply(shown[rows]), labels[rows], wanted)
        if threshold is None:
            none += 1
            continue
        share, coverage = precision(threshold, fitted.affine)
        coverages.append(coverage)
        missed += share < wanted
    return {
        "calibrator": calibrator,
        "classes": regime.classes,
        "images": regime.images,
        "spread": regime.spread,
        "sharp": regime.sharp,
        "uneven": uneven,
        "top1": float(chance.max(axis=1).mean()),
        "precision": wanted,
        "missed": missed / DRAWS,
        "missed if chosen by the fitted map": missed_by_fit / DRAWS,
        "without a threshold": none / DRAWS,
        "mean coverage": float(np.mean(coverages)) if coverages else None,
    }


def main() -> None:
    """Every regime."""
    with ProcessPoolExecutor(2) as pool:
        rows = list(pool.map(result, range(len(REGIMES))))
    allowed = NOMINAL + 2.33 * math.sqrt(NOMINAL * (1 - NOMINAL) / DRAWS)
    told = {"draws": DRAWS, "most allowed": round(allowed, 4), "regimes": rows}
    Path(__file__).with_suffix(".json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    for row in rows:
        print(row)
    assert all(row["missed"] <= allowed for row in rows)


if __name__ == "__main__":
    main()
