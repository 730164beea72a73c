"""Magnitudes: how large the values at named places get, and the range that int8 should tell apart there.

Values are seen twice, once for the largest magnitude and once for a histogram, so memory does not grow with
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
"""Magnitudes that symmetric int8 tells apart."""

RESOLUTION = 0.005
"""A share of the squared error below which a histogram of BINS bins cannot tell two ranges apart."""


class Magnitudes:
    """What is known of the values at each place.

    Args:
        names: the places.
        method: min_max takes the largest magnitude; percentile cuts 1 in 10,000 magnitudes; mse takes the r
            whose int8 rounding error is smallest; entropy takes the r whose 128 levels lose least of the
            histogram, as Kullback-Leibler divergence (S. Migacz, 8-bit inference with TensorRT, GTC 2017).
    """

    def __init__(self, names: Sequence[str], method: RangeMethod) -> None:
        self.method = method
        self.largest = dict.fromkeys(names, 0.0)
        self.counts = {name: np.zeros(BINS, dtype=np.int64) for name in names}

    @property
    def passes(self) -> int:
        """How often all values must be seen: for the largest, then, where it is 2, for the histogram."""
        return 1 if self.method == "min_max" else 2

    def see(self, this_pass: int, name: str, values: np.ndarray) -> None:
        """Values of a place, in pass 0 or 1.

        Raises:
            StageFailed: one of them is not finite.
        """
        if not np.isfinite(values).all():
            raise StageFailed(
                f"the network computes numbers that are not finite, at {name}",
                remedy="Train it anew with a lower learning rate; int8 has no range for them.",
            )
        if this_pass == 0:
            self.largest[name] = max(self.largest[name], float(np.abs(values).max()))
        else:
            top = self.largest[name] or 1.0
            self.counts[name] += np.histogram(np.abs(values), bins=BINS, range=(0.0, top))[0]

    def ranges(self) -> dict[str, float]:
        """The symmetric range [-r, r] of each place: r > 0."""
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
    """The r whose squared error, rounding inside and clipping outside, is smallest over the histogram."""
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
    """The r behind which to clip, so that LEVELS levels say most of what the histogram says."""
    seen = counts.astype(np.float64)
    seen[0] = seen[1]  # exact zeros, as of a ReLU, are no reason for any range
    if not seen.any():
        return largest
    divergences = {limit: _divergence(seen, limit) for limit in range(LEVELS, BINS + 1, BINS // 256)}
    return largest * min(divergences, key=divergences.__getitem__) / BINS


def _divergence(seen: np.ndarray, limit: int) -> float:
    """What is lost when all beyond `limit` bins is clipped and the rest told by LEVELS levels, in nats."""
    inside, clipped = seen[:limit], seen[:limit].copy()
    clipped[-1] += seen[limit:].sum()
    level = np.arange(limit) * LEVELS // limit
    held = inside > 0
    shares = np.bincount(level, inside, LEVELS) / np.maximum(np.bincount(level, held, LEVELS), 1.0)
    told = np.where(held, shares[level], 0.0)
    p, q = clipped / clipped.sum(), told / max(told.sum(), 1e-30)
    some = p > 0
    # Where only what was clipped lies, the levels say nothing: a large divergence, not an infinite one.
    return float(np.sum(p[some] * np.log(p[some] / np.maximum(q[some], 1e-12))))


_CHOICES: dict[str, Callable[[np.ndarray, float], float]] = {
    "percentile": _percentile,
    "mse": _least_squares,
    "entropy": _least_divergence,
}
