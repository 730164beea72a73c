"""The best inverse temperature of many logits, in a few passes over them.

In scope: the beta = 1/T of smallest NLL, the reason why there may be none, and its standard error;
memory-mapped logits. Out of scope: other maps, files, verdicts; everything but numpy.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from calkd_edge.metrics import per_image as scores

Status = Literal["ok", "separable", "anti", "flat", "extreme"]

LARGEST_LOG_TEMPERATURE = math.log(100.0)
"""A temperature outside 1/100 .. 100 gets the status extreme and is not used."""

NEWTON_IS_DONE = 1e-7
"""After a Newton step in log(beta) this small, the error is about its square."""

LONGEST_LEAP = 2.0
"""The largest step in log(beta) while only one side of the optimum is known."""

Result = TypeVar("Result")

_CHUNK_ELEMENTS = 1 << 18
_THREADS_FROM_ELEMENTS = 1 << 23
_SAMPLE_FROM_ELEMENTS = 1 << 23
_SAMPLE_SHARE = 100


@dataclass(frozen=True)
class TemperatureSolution:
    """The inverse temperature that minimises NLL, or the identity with the reason why there is none.

    Attributes:
        beta: 1/T; 1.0 whenever the status is not ok.
        status: ok; separable (every row right: T -> 0); anti (worse than uniform: T -> infinity); flat
            (every row constant: T means nothing); extreme (T outside 1/100..100).
        se_log_beta: standard error of log(beta), equal to that of log(T); None when the status is not ok.
        nll_before: mean NLL at beta = 1, in nats.
        nll_after: mean NLL at `beta`.
        passes: number of times that all rows were read.
    """

    beta: float
    status: Status
    se_log_beta: float | None
    nll_before: float
    nll_after: float
    passes: int


class _Slope(NamedTuple):
    """Mean NLL at one beta, its first two derivatives in beta, and the mean squared per-row slope."""

    nll: float
    first: float
    second: float
    squared: float


def best_inverse_temperature(
    logits: ArrayLike, labels: ArrayLike, *, start: float | None = None
) -> TemperatureSolution:
    """Find the beta = 1/T of smallest mean NLL by safeguarded Newton steps in log(beta).

    NLL is convex in beta, so its slope has at most one root; a step that would leave the interval known to
    hold the root is replaced by a bisection. There is no learning rate and no step limit, so the search does
    not stop early. Classes at -inf contribute nothing. Many rows are first fitted on a hundredth of them, so
    that three or four passes over all suffice; rows are read in chunks, so that a memory-mapped array of any
    size is supported.

    Args:
        logits: [N, C] float16, float32 or float64. float16 is computed in float32 and summed in float64.
        labels: [N].
        start: first value of beta; only speed depends on it.

    Raises:
        ValueError: see `scores.checked`.

    Source: Guo et al., ICML 2017 (the model); White, Econometrica 1982 (the standard error).
    """
    values, answers = scores.checked_shapes(logits, labels, also=(np.float16,))
    rows = _Rows(values, answers)
    before, status = rows.first_pass()
    if status != "ok":
        return TemperatureSolution(1.0, status, None, before.nll, before.nll, rows.passes)
    if start is None:
        start = _from_a_sample(values, answers)
    root = _root(rows, before, start)
    if root is None:
        return TemperatureSolution(1.0, "extreme", None, before.nll, before.nll, rows.passes)
    beta, at = root
    se = math.sqrt(at.squared / len(values)) / (at.second * beta) if at.second > 0 else None
    return TemperatureSolution(beta, "ok", se, before.nll, at.nll, rows.passes)


def _from_a_sample(values: scores.FloatingArray, answers: scores.Ints) -> float:
    """The best beta of every hundredth row where there are many rows, else 1."""
    if values.size < _SAMPLE_FROM_ELEMENTS:
        return 1.0
    few = slice(None, None, _SAMPLE_SHARE)
    return best_inverse_temperature(np.ascontiguousarray(values[few]), answers[few], start=1.0).beta


def _root(rows: _Rows, unscaled: _Slope, start: float) -> tuple[float, _Slope] | None:
    """The root of the slope in log(beta), or None when it lies beyond the largest temperature."""
    edge = LARGEST_LOG_TEMPERATURE
    low, high = (0.0, math.inf) if unscaled.first < 0.0 else (-math.inf, 0.0)
    u, at = 0.0, unscaled
    if start != 1.0:
        u = min(max(math.log(start), -edge), edge)
        at = rows.slope(math.exp(u))
    while True:
        if at.first < 0.0:
            low = max(low, u)
        else:
            high = min(high, u)
        if low >= edge or high <= -edge:
            return None
        curvature = at.second * math.exp(u)
        step = -at.first / curvature if curvature > 0.0 else math.copysign(math.inf, -at.first)
        if abs(step) < NEWTON_IS_DONE or high - low < 1e-13:
            return math.exp(u + step if abs(step) < NEWTON_IS_DONE else u), at
        u = _next(u, step, low, high)
        at = rows.slope(math.exp(u))


def _next(u: float, step: float, low: float, high: float) -> float:
    """The next log(beta): a Newton step inside the interval of the root, else its middle, else a leap."""
    edge = LARGEST_LOG_TEMPERATURE
    inner_low, inner_high = max(low, -edge), min(high, edge)
    moved = u + step
    if low < moved < high and abs(step) <= LONGEST_LEAP and inner_low <= moved <= inner_high:
        return moved
    if math.isfinite(low) and math.isfinite(high):
        return 0.5 * (low + high)
    return min(max(u + math.copysign(LONGEST_LEAP, step), inner_low), inner_high)


class _Rows:
    """All rows of a problem, read in chunks, by several threads where there are many rows.

    Sums of chunks are added in their order, so that the number of threads changes nothing.
    """

    def __init__(self, values: scores.FloatingArray, answers: scores.Ints) -> None:
        self._values, self._answers = values, answers
        self._type = np.float32 if values.dtype == np.float16 else np.float64
        self._threads = min(os.cpu_count() or 1, 8) if values.size >= _THREADS_FROM_ELEMENTS else 1
        self.passes = 0

    def first_pass(self) -> tuple[_Slope, Status]:
        """The slope at beta = 1, and whether there is an optimum."""
        sums, flat, all_right, slope_at_zero = np.zeros(4), True, True, 0.0
        for part, facts in self._each(self._first_pass_over):
            sums += part
            flat &= facts.flat
            all_right &= facts.all_right
            slope_at_zero += facts.slope_at_zero
        status: Status = "ok"
        if flat:
            status = "flat"
        elif all_right:
            status = "separable"
        elif slope_at_zero >= 0.0:
            status = "anti"
        return _Slope(*(sums / len(self._values)).tolist()), status

    def slope(self, beta: float) -> _Slope:
        """Mean NLL and its derivatives at one beta."""
        sums = np.zeros(4)
        for part in self._each(lambda rows: self._sums(*self._shifted(rows), beta)):
            sums += part
        return _Slope(*(sums / len(self._values)).tolist())

    def _each(self, work: Callable[[slice], Result]) -> Iterator[Result]:
        step = max(1, _CHUNK_ELEMENTS // self._values.shape[1])
        chunks = [slice(start, start + step) for start in range(0, len(self._values), step)]
        self.passes += 1
        if self._threads == 1:
            yield from map(work, chunks)
            return
        with ThreadPoolExecutor(self._threads) as pool:
            yield from pool.map(work, chunks)

    def _shifted(self, rows: slice) -> tuple[scores.FloatingArray, scores.FloatingArray]:
        """Logits minus the largest of their row, and the label's logit of that."""
        z: scores.FloatingArray = self._values[rows].astype(self._type)
        z = z - z.max(axis=1, keepdims=True)
        return z, z[np.arange(len(z)), self._answers[rows]]

    def _first_pass_over(self, rows: slice) -> tuple[scores.Floats, _Facts]:
        with np.errstate(invalid="ignore"):
            z, label_logit = self._shifted(rows)
            total = float(z.sum(dtype=np.float64))
        if not math.isfinite(total):
            scores.check_values(self._values[rows], self._answers[rows], first_row=rows.start)
        kept = np.isfinite(z)
        lowest = np.where(kept, z, 0.0)
        means = lowest.sum(axis=1, dtype=np.float64) / kept.sum(axis=1)
        facts = _Facts(
            flat=not lowest.any(),
            all_right=not label_logit.any(),
            slope_at_zero=float((means - label_logit).sum()),
        )
        return self._sums(z, label_logit, 1.0), facts

    def _sums(self, z: scores.FloatingArray, label_logit: scores.FloatingArray, beta: float) -> scores.Floats:
        """Sums over rows of NLL, slope, curvature and squared slope."""
        p = np.exp(z if beta == 1.0 else self._type(beta) * z)
        total = p.sum(axis=1, dtype=np.float64)
        if not np.isfinite(z).all():
            z = np.where(np.isfinite(z), z, self._type(0))  # p is 0 there: 0 * -inf would be NaN
        p *= z
        mean = p.sum(axis=1, dtype=np.float64) / total
        second = np.einsum("nc,nc->n", p, z).astype(np.float64) / total
        slope = mean - label_logit
        variance = second - mean * mean
        nll = np.log(total) - beta * label_logit.astype(np.float64)
        return np.array([nll.sum(), slope.sum(), variance.sum(), (slope * slope).sum()])


class _Facts(NamedTuple):
    """About some rows: whether all are constant, whether all are right, and the sum of slopes at beta = 0."""

    flat: bool
    all_right: bool
    slope_at_zero: float
