"""Maps from confidence to confidence that are tables: they can be measured, but no file can carry them.

Both look at the probability of the predicted class alone, and leave the prediction as it is.
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
)

WHY_NOT_FOLDED = "its map is a table behind the softmax, which no last layer can hold"


def isotonic(confidence: Floats, correct: NDArray[np.bool_]) -> ConfidenceMap:
    """The rising function of confidence that is closest to what was right, in squared distance.

    Pools adjacent violators; between the confidences it has seen it is linear. On the images it was fitted to
    its ECE is 0 whatever the model: only other images can judge it.

    Args:
        confidence: [N] of the predicted class.
        correct: [N].

    Source: Zadrozny and Elkan, KDD 2002; Ayer et al., Annals of Mathematical Statistics 26 (1955).
    """
    places, group, counts = np.unique(confidence, return_inverse=True, return_counts=True)
    means = np.bincount(group, weights=correct) / counts
    weights: list[float] = []
    values: list[float] = []
    members: list[int] = []
    for value, weight in zip(means, counts, strict=True):
        values.append(float(value))
        weights.append(float(weight))
        members.append(1)
        while len(values) > 1 and values[-2] >= values[-1]:
            whole = weights[-2] + weights[-1]
            values[-2:] = [(values[-2] * weights[-2] + values[-1] * weights[-1]) / whole]
            weights[-2:] = [whole]
            members[-2:] = [members[-2] + members[-1]]
    fitted = np.repeat(values, members)
    return lambda asked: np.interp(asked, places, fitted)


def histogram(
    confidence: Floats, correct: NDArray[np.bool_], *, bins: Annotated[int, Field(ge=1, le=1000)] = 15
) -> ConfidenceMap:
    """Each of `bins` ranges of equally many images gets the share of its images that was right.

    Args:
        confidence: [N] of the predicted class.
        correct: [N].
        bins: how many; fewer where confidences are tied.

    Source: Zadrozny and Elkan, ICML 2001; equal mass after Kumar et al., NeurIPS 2019 (arXiv 1909.10155).
    """
    ordered = np.sort(confidence)
    cuts = np.linspace(0, len(ordered), min(bins, len(ordered)) + 1)[1:-1].round().astype(np.int64)
    edges = np.unique(ordered[cuts - 1])
    place = np.searchsorted(edges, confidence, side="left")
    counts = np.bincount(place, minlength=len(edges) + 1)
    hits = np.bincount(place, weights=correct, minlength=len(edges) + 1)
    overall = float(correct.mean())
    shares = np.divide(hits, counts, out=np.full(len(counts), overall), where=counts > 0)
    return lambda asked: shares[np.searchsorted(edges, asked, side="left")]
