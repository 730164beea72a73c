"""Calibration errors without bins: the smooth one (smECE) and the Kolmogorov-Smirnov one."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from calkd_edge.metrics.inputs import Floats, Ints, checked_pairs

CELLS = 4096
"""Of the grid on 0..1 on which smECE smooths; they are far narrower than any bandwidth in practice."""


def smooth_calibration_error(confidence: ArrayLike, correct: ArrayLike) -> float:
    """The smooth ECE: the bandwidth s at which the residuals, smoothed with s, have absolute integral s.

    Residuals correct - confidence are smoothed by a Gaussian that is reflected at 0 and 1. On a grid of cell
    centres, a cosine transform of the second kind reflects, so that the first and last cell have full weight;
    a grid with points on 0 and 1 would halve confidences near 1. The absolute integral falls as s grows, so
    there is exactly one such s. It is biased: chance alone contributes more to it than to ECE.

    Args:
        confidence: [N] in 0..1.
        correct: [N] bool.

    Raises:
        ValueError: see `inputs.checked_pairs`.

    Source: Blasiok and Nakkiran, "Smooth ECE", ICLR 2024 (arXiv 2309.12236), definition 1 with section 3's
    reflected kernel.
    """
    values, outcomes = checked_pairs(confidence, correct)
    cell = np.minimum((values * CELLS).astype(np.int64), CELLS - 1)
    mass = np.bincount(cell, weights=outcomes - values, minlength=CELLS) / len(values)
    spectrum = np.fft.rfft(np.concatenate([mass, mass[::-1]]))
    squared = (np.pi * np.arange(CELLS + 1)) ** 2

    def smoothed(bandwidth: float) -> float:
        kept = spectrum * np.exp(-0.5 * bandwidth**2 * squared)
        return float(np.abs(np.fft.irfft(kept, 2 * CELLS)[:CELLS]).sum())

    low, high = 0.0, 1.0
    for _ in range(40):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if smoothed(middle) > middle else (low, middle)
    return 0.5 * (low + high)


def kolmogorov_smirnov_error(confidence: ArrayLike, correct: ArrayLike) -> float:
    """The largest gap between the cumulative sums of confidence and of hits, ordered by confidence, over N.

    Evaluated at the end of each group of tied confidences, so that the order of rows does not matter.

    Source: Gupta et al., "Calibration of Neural Networks using Splines", ICLR 2021 (arXiv 2006.12800).
    """
    values, outcomes = checked_pairs(confidence, correct)
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    drift = np.cumsum((values - outcomes)[order]) / len(values)
    return float(np.abs(drift[_ends_of_ties(ordered)]).max())


def _ends_of_ties(ordered: Floats) -> Ints:
    """Positions of the last of each group of equal values."""
    return np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True)).astype(np.int64)
