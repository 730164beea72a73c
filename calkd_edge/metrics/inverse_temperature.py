"""The best inverse temperature of many logits, in a few passes over them.

In scope: the beta = 1/T of smallest NLL, the reason why there may be none, and its standard error; the same
without each of some sets of images. Out of scope: other maps, files, verdicts; everything but numpy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from calkd_edge.metrics import per_image as scores
from calkd_edge.metrics.nll_slope import Optimum, Rows, Slope

Status = Literal[Optimum, "extreme"]

LARGEST_LOG_TEMPERATURE = math.log(100.0)
"""A temperature outside 1/100 .. 100 gets the status extreme and is not used."""

NEWTON_IS_DONE = 1e-7
"""After a Newton step in log(beta) this small, the error is about its square."""

LONGEST_LEAP = 2.0
"""The largest step in log(beta) while only one side of the optimum is known."""

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
    return _solution(Rows(values, answers), start)


def inverse_temperatures_without(
    values: scores.FloatingArray, answers: scores.Ints, held: Sequence[scores.Ints]
) -> list[float]:
    """The best beta of all rows but those of each of some sets, as when those rows were copied and fitted.

    What the rows give at beta = 1 and at the best beta of all is computed once, [N] numbers each, and logits
    are not copied.

    Args:
        values: [N, C], checked logits.
        answers: [N], checked labels.
        held: row numbers of each set.
    """
    rows = Rows(values, answers)
    rows.keep(1.0)
    start = _solution(rows, None).beta
    rows.keep(start)
    every = np.arange(len(values))
    return [_solution(rows.some(np.setdiff1d(every, left_out)), start).beta for left_out in held]


def _solution(rows: Rows, start: float | None) -> TemperatureSolution:
    before, status = rows.first_pass()
    if status != "ok":
        return TemperatureSolution(1.0, status, None, before.nll, before.nll, rows.passes)
    root = _root(rows, before, _from_a_sample(rows) if start is None else start)
    if root is None:
        return TemperatureSolution(1.0, "extreme", None, before.nll, before.nll, rows.passes)
    beta, at = root
    se = math.sqrt(at.squared / rows.count) / (at.second * beta) if at.second > 0 else None
    return TemperatureSolution(beta, "ok", se, before.nll, at.nll, rows.passes)


def _from_a_sample(rows: Rows) -> float:
    """The best beta of every hundredth row where there are many rows, else 1."""
    if rows.elements < _SAMPLE_FROM_ELEMENTS:
        return 1.0
    return _solution(rows.some(np.arange(0, rows.count, _SAMPLE_SHARE)), 1.0).beta


def _root(rows: Rows, unscaled: Slope, start: float) -> tuple[float, Slope] | None:
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
