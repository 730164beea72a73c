"""Magnitudes of the named values of a graph, and the ranges that int8 should cover.

Values are read twice, once for the largest magnitude and once for a histogram, so memory does not grow with
the number of images.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from calkd_edge.errors import StageFailed

RangeMethod = Literal["min_max", "percentile", "mse", "entropy"]
BINS = 2048
PERCENTILE = 99.99
LEVELS = 128
"""Magnitudes that symmetric int8 distinguishes."""

MOST_CLIPPED = 0.001
"""The share of magnitudes that `entropy` may clip. Where most of them are alike, as in images with a constant
background, the divergence is least at a range that clips a third of the rest."""

RESOLUTION = 0.005
"""A share of the squared error below which a histogram of BINS bins cannot distinguish two ranges."""


class Magnitudes:
    """Magnitudes collected for each named value.

    Args:
        names: of the values.
        method: min_max takes the largest magnitude; percentile cuts 1 in 10,000 magnitudes; mse takes the r
            whose int8 rounding error is smallest; entropy takes the r whose 128 levels lose least of the
            histogram, as Kullback-Leibler divergence (S. Migacz, 8-bit inference with TensorRT, GTC 2017),
            among those that clip at most MOST_CLIPPED.
    """

    def __init__(self, names: Sequence[str], method: RangeMethod) -> None:
        self.method = method
        self.largest = dict.fromkeys(names, 0.0)
        self.counts = {name: np.zeros(BINS, dtype=np.int64) for name in names}

    @property
    def passes(self) -> int:
        """The number of passes over all values: the first for the largest, the second for the histogram."""
        return 1 if self.method == "min_max" else 2

    def add(self, this_pass: int, name: str, values: np.ndarray) -> None:
        """Collect some numbers of a named value, in pass 0 or 1.

        Raises:
            StageFailed: a number is not finite.
        """
        if not np.isfinite(values).all():
            raise StageFailed(
                f"the network computes numbers that are not finite, at {name}",
                remedy="Train it again with a lower learning rate: int8 has no range for such numbers.",
            )
        if this_pass == 0:
            self.largest[name] = max(self.largest[name], float(np.abs(values).max()))
        else:
            top = self.largest[name] or 1.0
            self.counts[name] += np.histogram(np.abs(values), bins=BINS, range=(0.0, top))[0]

    def ranges(self) -> dict[str, float]:
        """The symmetric range [-r, r] of each named value: r > 0."""
        tops = {name: top or 1.0 for name, top in self.largest.items()}
        if self.method == "min_max":
            return tops
        choose = _CHOICES[self.method]
        return {name: choose(self.counts[name], top) for name, top in tops.items()}


def _percentile(counts: np.ndarray, largest: float) -> float:
    share = np.cumsum(counts) / counts.sum()
    bin_number = int(np.searchsorted(share, PERCENTILE / 100.0))
    return largest * min(bin_number + 1, BINS) / BINS


def _least_squares(counts: np.ndarray, largest: float) -> float:
    """The r with the smallest squared error over the histogram: rounding inside r and clipping outside."""
    centres = (np.arange(BINS) + 0.5) * (largest / BINS)
    best, best_error = largest, np.inf
    for limit in np.linspace(1.0, 0.2, 81) * largest:
        step = limit / 127.0
        rounded = np.minimum(np.round(centres / step), 127.0) * step
        error = float(np.sum(counts * (centres - rounded) ** 2))
        if error < best_error * (1.0 - RESOLUTION):
            best, best_error = float(limit), error
    return best


def _least_divergence(counts: np.ndarray, largest: float) -> float:
    """The r beyond which to clip so that LEVELS levels keep the most information of the histogram."""
    weights = counts.astype(np.float64)
    weights[0] = weights[1]  # exact zeros, as of a ReLU, must not influence the range
    if not weights.any():
        return largest
    kept = np.cumsum(weights) / weights.sum()
    limits = [
        limit for limit in range(LEVELS, BINS + 1, BINS // 256) if kept[limit - 1] >= 1.0 - MOST_CLIPPED
    ]
    divergences = {limit: _divergence(weights, limit) for limit in limits}
    return largest * min(divergences, key=divergences.__getitem__) / BINS


def _divergence(weights: np.ndarray, limit: int) -> float:
    """The loss in nats when values beyond `limit` bins are clipped and the rest gets LEVELS levels."""
    inside, clipped = weights[:limit], weights[:limit].copy()
    clipped[-1] += weights[limit:].sum()
    level = np.arange(limit) * LEVELS // limit
    held = inside > 0
    shares = np.bincount(level, inside, LEVELS) / np.maximum(np.bincount(level, held, LEVELS), 1.0)
    quantized = np.where(held, shares[level], 0.0)
    p, q = clipped / clipped.sum(), quantized / max(quantized.sum(), 1e-30)
    some = p > 0
    # A bin that only clipped values fill has no level: its divergence is large, but not infinite.
    return float(np.sum(p[some] * np.log(p[some] / np.maximum(q[some], 1e-12))))


_CHOICES: dict[str, Callable[[np.ndarray, float], float]] = {
    "percentile": _percentile,
    "mse": _least_squares,
    "entropy": _least_divergence,
}
