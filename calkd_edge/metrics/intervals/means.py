"""Bounds for means of one number per image: NLL, Brier, and their paired differences."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calkd_edge.metrics.intervals.bounds import LEVEL, Bounds

Floats = NDArray[np.float64]

PIECE = 1 << 17
"""Numbers that are drawn at once: a megabyte, which stays in the cache and is not allocated again."""

KEPT = 64
"""Rows whose bounds are remembered: gates and report ask for the same differences, and each costs 70 ms."""

CONSTANT = 1e-12
"""Of the mean square: a resample with a smaller variance is constant but for rounding."""

UNBOUNDED, FAR = 1e100, 1e200
"""A studentized mean beyond the first has no bound; the second stands for a mean over an error of 0."""

_Key = tuple[bytes, int, float]
_recent: dict[_Key, Bounds] = {}


def mean_bounds(values: ArrayLike, *, seed: int, level: float = LEVEL) -> list[Bounds]:
    """Means with bootstrap-t bounds, one per row of `values`; all rows share the resamples.

    Reaches its level for skewed values such as NLL, where mean +- z se is too short on the long side. For a
    paired difference, pass the differences per image. Where two images or fewer carry the whole mean, more
    than 5 of 100 resamples miss them all: the bound is then the largest (or the smallest) value itself. No
    bound tells of a rare large value that the sample lacks.

    Args:
        values: [K, N] or [N], finite.
        seed: of the resampling; equal seeds give equal bounds.
        level: one-sided level of each bound.

    Raises:
        ValueError: fewer than 2 values, or one that is not finite.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), section 12.5.
    """
    rows = np.atleast_2d(np.asarray(values, dtype=np.float64))
    n = rows.shape[1]
    if n < 2 or not np.isfinite(rows).all():
        raise ValueError(f"a mean needs at least 2 finite values, got {n}")
    keys: list[_Key] = [(hashlib.sha256(row.tobytes()).digest(), seed, level) for row in rows]
    new = [index for index, key in enumerate(keys) if key not in _recent]
    bounds = {key: _recent[key] for key in keys if key in _recent}
    if new:
        bounds |= zip([keys[index] for index in new], _bootstrap(rows[new], seed, level), strict=True)
    _recent.update(bounds)
    for oldest in list(_recent)[:-KEPT]:
        del _recent[oldest]
    return [bounds[key] for key in keys]


def _bootstrap(rows: Floats, seed: int, level: float) -> list[Bounds]:
    """The bounds of each row; a row's bounds do not depend on the others."""
    n = rows.shape[1]
    means = rows.mean(axis=1)
    centred = rows - means[:, None]
    errors = np.sqrt((centred**2).mean(axis=1) / (n - 1))
    studentized = _studentized(centred, resamples=int(min(2000, max(500, 2e7 // n))), seed=seed)
    out = []
    for row, mean, error, t in zip(rows, means, errors, studentized, strict=True):
        if error == 0.0:
            out.append(Bounds(float(mean), float(mean), float(mean)))
            continue
        upper, lower = np.quantile(t, [level, 1 - level])
        low = row.min() if upper > UNBOUNDED else mean - max(upper, 0.0) * error
        high = row.max() if lower < -UNBOUNDED else mean - min(lower, 0.0) * error
        out.append(Bounds(float(mean), float(low), float(high)))
    return out


def _studentized(centred: Floats, *, resamples: int, seed: int) -> Floats:
    """(mean* - mean) / se* of every resample, [K, resamples]; beyond UNBOUNDED where one is constant."""
    generator = np.random.default_rng(seed)
    n = centred.shape[1]
    at_once = min(resamples, max(2, PIECE // n))
    picked = np.empty((at_once, n))
    result = np.empty((len(centred), resamples))
    for start in range(0, resamples, at_once):
        count = min(at_once, resamples - start)
        drawn = generator.integers(0, n, size=(count, n), dtype=np.int32)
        for row, out in zip(centred, result, strict=True):
            values = np.take(row, drawn, out=picked[:count], mode="clip")
            mean = values.mean(axis=1)
            square = np.einsum("rn,rn->r", values, values) / n
            variance = np.maximum(square - mean**2, 0.0) / (n - 1)
            spreads = variance * (n - 1) > CONSTANT * square
            error = np.sqrt(np.where(spreads, variance, 1.0))
            out[start : start + count] = np.where(spreads, mean / error, np.sign(mean) * FAR)
    return result
