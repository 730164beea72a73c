"""A test of calibration against chance: could the outcomes be drawn from the confidences themselves?"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from calkd_edge.metrics.binned import BINS, equal_width_bins
from calkd_edge.metrics.inputs import Floats, Ints, checked_pairs

RESAMPLES = 1000
_DRAWS_AT_ONCE = 1 << 20


class Consistency(NamedTuple):
    """An ECE compared with those of perfect calibration at the same confidences.

    Attributes:
        error: the measured ECE.
        floor: mean ECE of perfect calibration.
        floor_95: the ECE that perfect calibration exceeds in 5 of 100 samples.
        p_value: the share of samples, this one included, with an ECE as large; small: miscalibrated.
    """

    error: float
    floor: float
    floor_95: float
    p_value: float


def consistency(
    confidence: ArrayLike, correct: ArrayLike, *, bins: int = BINS, resamples: int = RESAMPLES, seed: int = 0
) -> Consistency:
    """Test whether outcomes could be drawn from the confidences themselves.

    Draws outcomes, each with its confidence as probability, and computes the ECE of each draw with the same
    equal-width bins. Exact except for the number of draws; no normal approximation.

    Args:
        confidence: [N] in 0..1.
        correct: [N] bool.
        bins: equal-width bins.
        resamples: number of draws; the smallest p-value is 1/(resamples + 1).
        seed: of the draws.

    Raises:
        ValueError: see `inputs.checked_pairs`.

    Source: Broecker and Smith, Weather and Forecasting 22 (2007), 651-661; Vaicenavicius et al., AISTATS 2019
    (arXiv 1902.06977).
    """
    values, outcomes = checked_pairs(confidence, correct)
    order = np.argsort(equal_width_bins(values, bins), kind="stable")
    bin_of, sorted_values = equal_width_bins(values, bins)[order], values[order]
    starts = np.flatnonzero(np.diff(bin_of, prepend=-1)).astype(np.int64)
    expected = np.add.reduceat(sorted_values, starts)
    gap_sum = float(np.abs(expected - np.add.reduceat(outcomes[order].astype(np.float64), starts)).sum())
    generator = np.random.default_rng(seed)
    drawn = _resampled(sorted_values, starts, expected, resamples, generator)
    n = len(values)
    return Consistency(
        error=gap_sum / n,
        floor=float(drawn.mean() / n),
        floor_95=float(np.quantile(drawn, 0.95) / n),
        p_value=float((1 + (drawn >= gap_sum * (1 - 1e-12)).sum()) / (1 + resamples)),
    )


def _resampled(
    values: Floats, starts: Ints, expected: Floats, resamples: int, generator: np.random.Generator
) -> Floats:
    """Sum over bins of |expected - drawn hits|, for each draw."""
    at_once = max(1, _DRAWS_AT_ONCE // len(values))
    narrow = values.astype(np.float32)
    parts = []
    for start in range(0, resamples, at_once):
        shape = (min(at_once, resamples - start), len(values))
        hits = generator.random(shape, dtype=np.float32) < narrow
        # reduceat on bool would be a logical or.
        per_bin = np.add.reduceat(hits.view(np.int8), starts, axis=1, dtype=np.int64)
        parts.append(np.abs(expected - per_bin).sum(axis=1))
    return np.concatenate(parts)
