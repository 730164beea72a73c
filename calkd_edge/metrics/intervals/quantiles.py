"""Bounds for percentiles of a time series whose samples resemble their neighbours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calkd_edge.metrics.intervals.bounds import LEVEL

Floats = NDArray[np.float64]


class QuantileBounds(NamedTuple):
    """A percentile with order-statistic bounds; None where the effective sample is too small for it."""

    value: float | None
    low: float | None
    high: float | None
    effective: float


def effective_size(indicator: ArrayLike) -> float:
    """The number of independent draws that a correlated 0/1 series is worth, in 1..n.

    n over the integrated autocorrelation time, 1 + 2 sum of autocorrelations. The sum ends at the first lag
    that is at least five times the time it has summed to.

    Source: Sokal, Monte Carlo Methods in Statistical Mechanics (1997), section 3.
    """
    series = np.asarray(indicator, dtype=np.float64)
    n = len(series)
    centred = series - series.mean()
    if n < 2 or not centred.any():
        return float(max(n, 1))
    spectrum = np.fft.rfft(centred, 2 * n)
    covariance = np.fft.irfft(spectrum * spectrum.conj(), 2 * n)[:n]
    times = 2.0 * np.cumsum(covariance / covariance[0]) - 1.0
    window = np.arange(n) >= 5.0 * times
    time = times[int(np.argmax(window))] if window.any() else times[-1]
    return float(n / min(max(time, 1.0), n))


def quantile_bounds(samples: ArrayLike, q: float, *, level: float = LEVEL) -> QuantileBounds:
    """The q-quantile of a series in time order, with binomial order-statistic bounds at its effective size.

    The value is the smallest sample with at least q of all at or below it. At 95 % a bound above p95 needs 59
    effective samples (1 - .95^59 > .95), above p50 needs 5. Autocorrelation is computed at the value and at
    each bound: slow periods may appear at one and not at the other. The smallest effective size counts.

    Raises:
        ValueError: no samples, one that is not finite, or q outside 0..1.
    """
    series = np.asarray(samples, dtype=np.float64)
    if len(series) == 0 or not np.isfinite(series).all() or not 0 < q < 1:
        raise ValueError(
            f"a quantile needs finite samples and 0 < q < 1, got {len(series)} samples and q = {q}"
        )
    ordered = np.sort(series)
    n = len(ordered)
    value = float(ordered[max(math.ceil(q * n - 1e-9), 1) - 1])
    effective = effective_size(series > value)
    low, high = _bounds(ordered, effective, q, level)
    sizes = [effective_size(series > bound) for bound in (low, high) if bound is not None]
    if sizes and min(sizes) < effective:
        effective = min(sizes)
        low, high = _bounds(ordered, effective, q, level)
    carried = low is not None and high is not None
    return QuantileBounds(
        value if carried else None,
        None if low is None else min(low, value),
        None if high is None else max(high, value),
        effective,
    )


def _bounds(ordered: Floats, effective: float, q: float, level: float) -> tuple[float | None, float | None]:
    """The order statistics that bound a quantile, were it taken from `effective` independent samples."""
    n, m = len(ordered), max(1, math.floor(effective + 1e-9))
    cumulative = _binomial_cdf(m, q)
    stretch = (n + 1) / (m + 1)
    lower_ranks = np.flatnonzero(1 - cumulative[:m] >= level)  # P(X >= r) for r = index + 1
    upper_ranks = np.flatnonzero(cumulative[:m] >= level)  # P(X <= s - 1) for s = index + 1
    low = None if not len(lower_ranks) else max(math.floor((lower_ranks[-1] + 1) * stretch), 1) - 1
    high = None if not len(upper_ranks) else min(math.ceil((upper_ranks[0] + 1) * stretch), n) - 1
    return None if low is None else float(ordered[low]), None if high is None else float(ordered[high])


def _binomial_cdf(n: int, q: float) -> Floats:
    """P(X <= k) for k = 0..n."""
    factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])
    k = np.arange(n + 1)
    log_mass = factorial[n] - factorial[k] - factorial[n - k] + k * math.log(q) + (n - k) * math.log1p(-q)
    return np.asarray(np.minimum(np.cumsum(np.exp(log_mass)), 1.0), dtype=np.float64)


def worst_quantile(processes: Sequence[ArrayLike], q: float, *, level: float = LEVEL) -> QuantileBounds:
    """The largest q-quantile among processes with its bounds; None if a process has too few samples for it.

    The upper bound is the largest of the upper bounds. The lower one is the largest of lower bounds at a
    level that divides the risk among the processes, since the largest is selected after measuring.
    """
    if not processes:
        raise ValueError("there are no measured processes")
    each = [quantile_bounds(samples, q, level=level) for samples in processes]
    shared = 1 - (1 - level) / len(processes)
    lows = [quantile_bounds(samples, q, level=shared).low for samples in processes]
    values, highs = [bounds.value for bounds in each], [bounds.high for bounds in each]
    known = [low for low in lows if low is not None]
    return QuantileBounds(
        None if None in values else max(v for v in values if v is not None),
        max(known) if known else None,
        None if None in highs else max(h for h in highs if h is not None),
        min(bounds.effective for bounds in each),
    )
