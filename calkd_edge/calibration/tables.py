"""Maps from confidence to confidence that are tables: they can be measured, but not written into a file.

Both use the probability of the predicted class alone, and do not change the prediction.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from calkd_edge.registry import Registry

Floats = NDArray[np.float64]
ConfidenceMap = Callable[[Floats], Floats]
"""Confidences [N] in 0..1 -> confidences [N] in 0..1."""

TABLES = Registry(
    "confidence map",
    {
        "isotonic": "calkd_edge.calibration.tables:isotonic",
        "histogram": "calkd_edge.calibration.tables:histogram",
    },
    plural="tables",
)

WHY_NOT_FOLDED = "its map is a table applied after the softmax, which cannot be folded into the last layer"


def isotonic(confidence: Floats, correct: NDArray[np.bool_]) -> ConfidenceMap:
    """Isotonic regression: the rising function of confidence with the smallest squared error.

    Pools adjacent violators, and is linear between the confidences of the fit. On the images it was fitted to
    its ECE is 0 for every model: evaluate it on other images.

    Args:
        confidence: [N] of the predicted class.
        correct: [N], whether the prediction was right.

    Source: Zadrozny and Elkan, KDD 2002; Ayer et al., Annals of Mathematical Statistics 26 (1955).
    """
    levels, group, counts = np.unique(confidence, return_inverse=True, return_counts=True)
    means = np.bincount(group, weights=correct) / counts
    weights: list[float] = []
    values: list[float] = []
    members: list[int] = []
    for value, weight in zip(means, counts, strict=True):
        values.append(float(value))
        weights.append(float(weight))
        members.append(1)
        while len(values) > 1 and values[-2] >= values[-1]:
            total = weights[-2] + weights[-1]
            values[-2:] = [(values[-2] * weights[-2] + values[-1] * weights[-1]) / total]
            weights[-2:] = [total]
            members[-2:] = [members[-2] + members[-1]]
    fitted = np.repeat(values, members)
    return lambda queries: np.interp(queries, levels, fitted)


def histogram(
    confidence: Floats, correct: NDArray[np.bool_], *, bins: Annotated[int, Field(ge=1, le=1000)] = 15
) -> ConfidenceMap:
    """Histogram binning: in each of `bins` ranges of equally many images, the share of right predictions.

    Args:
        confidence: [N] of the predicted class.
        correct: [N], whether the prediction was right.
        bins: their number; fewer where confidences are tied.

    Source: Zadrozny and Elkan, ICML 2001; equal mass after Kumar et al., NeurIPS 2019 (arXiv 1909.10155).
    """
    ordered = np.sort(confidence)
    cuts = np.linspace(0, len(ordered), min(bins, len(ordered)) + 1)[1:-1].round().astype(np.int64)
    edges = np.unique(ordered[cuts - 1])
    bin_numbers = np.searchsorted(edges, confidence, side="left")
    counts = np.bincount(bin_numbers, minlength=len(edges) + 1)
    hits = np.bincount(bin_numbers, weights=correct, minlength=len(edges) + 1)
    overall = float(correct.mean())
    shares = np.divide(hits, counts, out=np.full(len(counts), overall), where=counts > 0)
    return lambda queries: shares[np.searchsorted(edges, queries, side="left")]
