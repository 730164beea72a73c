"""Does the guaranteed threshold keep its promise? Six regimes, 2,000 draws each.

A regime is a population of logits whose chance to be right is known for each image. Each draw takes a
calibration split, fits a temperature to it as a release does, finds the lowest threshold for a precision on
the same split, and looks up the precision of that threshold in the population. The promise is missed where it
is lower; nominally in at most 5 of 100 draws. Writes its result beside itself; some minutes.

    python benchmarks/statistics/thresholds.py
"""

from __future__ import annotations

import json
import math
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from coverage import Regime

from calkd_edge.metrics.guarantee import lowest_threshold
from calkd_edge.metrics.inverse_temperature import best_inverse_temperature
from calkd_edge.metrics.per_image import confidence

DRAWS, POPULATION, NOMINAL = 2000, 100_000, 0.05
REGIMES = (
    (Regime(10, 1000, 6.0, 1.0), 0.95, 1.0),
    (Regime(10, 2000, 8.0, 2.0), 0.99, 1.0),
    (Regime(100, 2000, 6.0, 1.5), 0.9, 1.0),
    (Regime(2, 500, 4.0, 0.6), 0.95, 1.0),
    (Regime(10, 5000, 6.0, 1.0), 0.98, 3.0),
    (Regime(10, 300, 5.0, 3.0), 0.9, 2.0),
)
"""Classes, calibration images, spread and sharpness of the logits; the wanted precision; and how many times
sharper half of the images are than the other half, which no temperature mends."""


def result(number: int) -> dict[str, Any]:
    """What a regime came to."""
    regime, wanted, uneven = REGIMES[number]
    draw = np.random.default_rng(number)
    logits = draw.normal(0, regime.spread, (POPULATION, regime.classes)).astype(np.float32)
    logits -= np.logaddexp.reduce(logits, axis=1, keepdims=True)
    chance = np.exp(logits)
    labels = (
        chance.cumsum(axis=1) > draw.random((POPULATION, 1)) * chance.sum(axis=1, keepdims=True)
    ).argmax(1)
    answers = logits.argmax(1)
    truth = chance[np.arange(POPULATION), answers]
    sharp = regime.sharp * np.where(draw.random((POPULATION, 1)) < 0.5, uneven, 1.0)
    shown = (sharp * logits).astype(np.float32)
    missed, coverages, none = 0, [], 0
    for _ in range(DRAWS):
        rows = draw.integers(0, POPULATION, regime.images)
        beta = best_inverse_temperature(shown[rows], labels[rows]).beta
        scores = confidence(beta * shown[rows])
        found = lowest_threshold(scores, answers[rows] == labels[rows], wanted)
        if found is None:
            none += 1
            continue
        taken = confidence(beta * shown[:: POPULATION // 20_000]) >= found
        of_taken = truth[:: POPULATION // 20_000][taken]
        coverages.append(float(taken.mean()))
        missed += bool(len(of_taken) and of_taken.mean() < wanted)
    return {
        "classes": regime.classes,
        "images": regime.images,
        "spread": regime.spread,
        "sharp": regime.sharp,
        "uneven": uneven,
        "top1": float(truth.mean()),
        "precision": wanted,
        "missed": missed / DRAWS,
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
