"""Correlations over teachers and differences over seeds, each with its interval."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import stats

DRAWS = 10_000
PRIMARY, SHOWN = 0.975, 0.95
"""Levels: the two primary figures are at 95 % together."""

Statistic = Callable[..., np.ndarray]


@dataclass(frozen=True)
class Interval:
    """A figure with its bounds at a level."""

    value: float
    low: float
    high: float
    level: float

    @property
    def is_computable(self) -> bool:
        """False where a figure does not vary, which leaves no correlation."""
        return bool(np.isfinite([self.value, self.low, self.high]).all())

    @property
    def side(self) -> int:
        """1 where it lies above zero, -1 below, 0 where it contains zero or is not computable."""
        return int(self.low > 0) - int(self.high < 0)

    def squared(self) -> Interval:
        """Of R², from that of Pearson's correlation: a bootstrap of R² itself misses small ones."""
        ends = sorted((self.low**2, self.high**2))
        return Interval(self.value**2, 0.0 if self.low < 0 < self.high else ends[0], ends[1], self.level)


def pearson(x: np.ndarray, y: np.ndarray, axis: int = -1) -> np.ndarray:
    """Pearson's correlation along an axis."""
    a, b = x - x.mean(axis, keepdims=True), y - y.mean(axis, keepdims=True)
    scale: np.ndarray = np.sqrt((a * a).sum(axis) * (b * b).sum(axis))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((a * b).sum(axis) / scale)


def spearman(x: np.ndarray, y: np.ndarray, axis: int = -1) -> np.ndarray:
    """Spearman's rank correlation along an axis."""
    return pearson(stats.rankdata(x, axis=axis), stats.rankdata(y, axis=axis), axis)


def slope(x: np.ndarray, y: np.ndarray, axis: int = -1) -> np.ndarray:
    """The slope of a straight line, along an axis."""
    a, b = x - x.mean(axis, keepdims=True), y - y.mean(axis, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((a * b).sum(axis) / (a * a).sum(axis))


def partial(x: np.ndarray, y: np.ndarray, given: np.ndarray, axis: int = -1) -> np.ndarray:
    """The correlation of what a straight line over `given` leaves of x and of y, along an axis."""
    xy, xg, yg = pearson(x, y, axis), pearson(x, given, axis), pearson(y, given, axis)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((xy - xg * yg) / np.sqrt((1 - xg**2) * (1 - yg**2)))


def over_teachers(statistic: Statistic, *samples: np.ndarray, level: float = SHOWN) -> Interval:
    """A statistic over teachers with its BCa bootstrap interval.

    Args:
        statistic: of samples along an axis.
        samples: [teachers] each, drawn together.
        level: of the interval.

    Source: Efron, "Better bootstrap confidence intervals", JASA 82 (1987).
    """
    value = float(statistic(*samples))
    if not np.isfinite(value):
        return Interval(value, value, value, level)
    drawn = stats.bootstrap(
        samples,
        statistic,
        paired=True,
        vectorized=True,
        n_resamples=DRAWS,
        method="BCa",
        confidence_level=level,
        rng=np.random.default_rng(0),
        batch=2000,
    ).confidence_interval
    return Interval(value, float(drawn.low), float(drawn.high), level)


def over_seeds(differences: np.ndarray, level: float = SHOWN) -> Interval:
    """The mean of differences with Student's interval; each block has its mean, all share one variance.

    Args:
        differences: [blocks, seeds]
        level: of the interval.
    """
    mean, reach = float(differences.mean()), _reach(differences, differences.size, level)
    return Interval(mean, mean - reach, mean + reach, level)


def of_block(differences: np.ndarray, block: int, level: float = SHOWN) -> Interval:
    """The mean of one block, with the variance that all share.

    Args:
        differences: [blocks, seeds]
        block: which.
        level: of the interval.
    """
    mean = float(differences[block].mean())
    reach = _reach(differences, differences.shape[1], level)
    return Interval(mean, mean - reach, mean + reach, level)


def _reach(differences: np.ndarray, count: int, level: float) -> float:
    """Half the interval of a mean of so many of the differences."""
    blocks, seeds = differences.shape
    freedom = blocks * (seeds - 1)
    within = differences - differences.mean(axis=1, keepdims=True)
    error = np.sqrt((within**2).sum() / freedom / count)
    return float(stats.t.ppf((1 + level) / 2, freedom) * error)


def z_scores(values: np.ndarray) -> np.ndarray:
    """[teachers]: the mean over students of their z-scores over teachers.

    Args:
        values: [teachers, students]
    """
    with np.errstate(invalid="ignore"):
        scaled = (values - values.mean(axis=0)) / values.std(axis=0, ddof=1)
    return np.asarray(scaled.mean(axis=1))
