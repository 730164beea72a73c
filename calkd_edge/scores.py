"""Numbers about one image each, and the one temperature that fits many of them best.

In scope: checked logits, log-softmax, NLL, Brier, hits, confidence; the best inverse temperature of a set.
Out of scope: means, intervals, verdicts, files; everything but numpy. All arithmetic is float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Status = Literal["ok", "separable", "anti", "flat", "extreme"]

LARGEST_LOG_TEMPERATURE = math.log(100.0)
"""A temperature outside 1/100 .. 100 is called extreme and not used."""

_CHUNK_ELEMENTS = 1 << 18


def checked(logits: ArrayLike, labels: ArrayLike) -> tuple[NDArray[Any], Ints]:
    """Logits and labels fit to be scored, without a copy where they already are arrays.

    Args:
        logits: [N, C] float32 or float64, raw scores. -inf marks a class that a row excludes.
        labels: [N] integers in 0..C-1.

    Raises:
        ValueError: no rows, fewer than two classes, wrong shapes, another dtype (float16 sums lose counts),
            a NaN, a +inf, a row that excludes every class, or a label that is out of range or excluded by
            its own row.
    """
    scores, answers = np.asarray(logits), np.asarray(labels)
    if scores.ndim != 2 or answers.ndim != 1 or len(scores) != len(answers):
        raise ValueError(f"logits must be [N, C] and labels [N], got {scores.shape} and {answers.shape}")
    if len(scores) == 0 or scores.shape[1] < 2:
        raise ValueError(
            f"nothing to score: logits are {scores.shape}; at least 1 row and 2 classes are needed"
        )
    if scores.dtype not in (np.float32, np.float64):
        raise ValueError(
            f"logits are {scores.dtype}; give float32 or float64, converted where they are produced"
        )
    if not np.issubdtype(answers.dtype, np.integer):
        raise ValueError(f"labels are {answers.dtype}, not integers")
    answers = answers.astype(np.int64, copy=False)
    if answers.min() < 0 or answers.max() >= scores.shape[1]:
        raise ValueError(
            f"labels span {answers.min()}..{answers.max()}, but there are {scores.shape[1]} classes"
        )
    _check_values(scores, answers)
    return scores, answers


def _check_values(scores: NDArray[Any], answers: Ints) -> None:
    with np.errstate(invalid="ignore"):
        total = float(scores.sum(dtype=np.float64))
    if math.isfinite(total):
        return
    bad = np.isnan(scores) | (scores == np.inf)
    if bad.any():
        row = int(np.flatnonzero(bad.any(axis=1))[0])
        raise ValueError(
            f"logits hold NaN or +inf in {int(bad.any(axis=1).sum())} rows, the first is row {row}"
        )
    excluded = scores[np.arange(len(scores)), answers] == -np.inf
    if excluded.any():
        row = int(np.flatnonzero(excluded)[0])
        raise ValueError(
            f"the logit of the label itself is -inf in {int(excluded.sum())} rows, the first is row {row}"
        )


def log_softmax(logits: ArrayLike) -> Floats:
    """Log-probabilities, float64 [N, C]; a -inf logit stays -inf. Never log(softmax), which underflows."""
    scores = np.asarray(logits, dtype=np.float64)
    shifted: Floats = scores - scores.max(axis=1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return shifted


def nll_per_image(logits: ArrayLike, labels: ArrayLike) -> Floats:
    """Negative log-likelihood of each label in nats, float64 [N]."""
    scores, answers = checked(logits, labels)
    return _per_chunk(scores, answers, lambda log_p, y: -log_p[np.arange(len(y)), y])


def brier_per_image(logits: ArrayLike, labels: ArrayLike) -> Floats:
    """Squared distance of probabilities from the one-hot label, summed over classes: 0..2, float64 [N]."""
    scores, answers = checked(logits, labels)

    def one_chunk(log_p: Floats, y: Ints) -> Floats:
        p = np.exp(log_p)
        p[np.arange(len(y)), y] -= 1.0
        return np.asarray((p * p).sum(axis=1), dtype=np.float64)

    return _per_chunk(scores, answers, one_chunk)


def _per_chunk(scores: NDArray[Any], answers: Ints, figure: Callable[[Floats, Ints], Floats]) -> Floats:
    parts = [figure(log_softmax(scores[rows]), answers[rows]) for rows in _chunks(scores)]
    return np.concatenate(parts).astype(np.float64)


def _chunks(scores: NDArray[Any]) -> Iterator[slice]:
    step = max(1, _CHUNK_ELEMENTS // scores.shape[1])
    return (slice(start, start + step) for start in range(0, len(scores), step))


def top1(logits: ArrayLike) -> Ints:
    """The predicted class of each row, [N]; among tied maxima the first."""
    return np.asarray(np.argmax(np.asarray(logits), axis=1), dtype=np.int64)


def confidence(logits: ArrayLike) -> Floats:
    """The probability of the predicted class, float64 [N], in 1/C..1."""
    scores = np.asarray(logits)
    parts = []
    for rows in _chunks(scores):
        chunk = np.asarray(scores[rows], dtype=np.float64)
        parts.append(1.0 / np.exp(chunk - chunk.max(axis=1, keepdims=True)).sum(axis=1))
    return np.concatenate(parts)


def label_rank(logits: ArrayLike, labels: ArrayLike) -> Ints:
    """How many classes stand before the label, [N]: 0 is a top-1 hit; of ties the lower index leads."""
    scores, answers = checked(logits, labels)
    own = scores[np.arange(len(scores)), answers][:, None]
    before = np.arange(scores.shape[1])[None, :] < answers[:, None]
    return np.asarray(((scores > own) | ((scores == own) & before)).sum(axis=1), dtype=np.int64)


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
        iterations: evaluations of the derivative.
    """

    beta: float
    status: Status
    se_log_beta: float | None
    nll_before: float
    nll_after: float
    iterations: int


@dataclass(frozen=True)
class _Slope:
    """Mean NLL at one beta, its first two derivatives in beta, and the mean squared per-row slope."""

    nll: float
    first: float
    second: float
    squared: float


def best_inverse_temperature(
    logits: ArrayLike, labels: ArrayLike, *, start: float = 1.0
) -> TemperatureSolution:
    """The beta = 1/T of smallest mean NLL, found by safeguarded Newton steps in log(beta).

    NLL is convex in beta, so its slope has at most one root; each step that would leave the bracket is a
    bisection. There is no learning rate and no step limit that could leave it half-way. Classes at -inf
    contribute nothing.

    Args:
        logits: [N, C], checked by `checked`.
        labels: [N].
        start: where to begin; only speed depends on it.

    Raises:
        ValueError: see `checked`.

    Source: Guo et al., ICML 2017 (the model); White, Econometrica 1982 (the standard error).
    """
    scores, answers = checked(logits, labels)
    before = _slope(scores, answers, 1.0).nll
    status = _without_optimum(scores, answers)
    edges = [math.exp(-LARGEST_LOG_TEMPERATURE), math.exp(LARGEST_LOG_TEMPERATURE)]
    if status == "ok" and not (
        _slope(scores, answers, edges[0]).first < 0.0 < _slope(scores, answers, edges[1]).first
    ):
        status = "extreme"
    if status != "ok":
        return TemperatureSolution(1.0, status, None, before, before, 0)
    beta, at, iterations = _root(scores, answers, start)
    se = math.sqrt(at.squared / len(scores)) / (at.second * beta) if at.second > 0 else None
    return TemperatureSolution(beta, "ok", se, before, at.nll, iterations)


def _without_optimum(scores: NDArray[Any], answers: Ints) -> Status:
    flat, all_right, slope_at_zero = True, True, 0.0
    for rows in _chunks(scores):
        chunk, y = np.asarray(scores[rows], dtype=np.float64), answers[rows]
        kept = np.isfinite(chunk)
        own, best = chunk[np.arange(len(y)), y], chunk.max(axis=1)
        lowest = np.where(kept, chunk, np.inf).min(axis=1)
        flat &= bool((lowest == best).all())
        all_right &= bool((own == best).all())
        shifted = np.where(kept, chunk - best[:, None], 0.0)
        slope_at_zero += float((shifted.sum(axis=1) / kept.sum(axis=1) - (own - best)).sum())
    if flat:
        return "flat"
    if all_right:
        return "separable"
    return "anti" if slope_at_zero >= 0.0 else "ok"


def _slope(scores: NDArray[Any], answers: Ints, beta: float) -> _Slope:
    sums = np.zeros(4)
    for rows in _chunks(scores):
        z, y = np.asarray(scores[rows], dtype=np.float64), answers[rows]
        z = z - z.max(axis=1, keepdims=True)
        own = z[np.arange(len(y)), y]
        p = np.exp(beta * z)
        total = p.sum(axis=1)
        if not np.isfinite(z).all():
            z[np.isneginf(z)] = 0.0  # p is 0 there: 0 * -inf would be NaN
        p *= z
        mean = p.sum(axis=1) / total
        p *= z
        variance = p.sum(axis=1) / total - mean * mean
        slope = mean - own
        sums += [(np.log(total) - beta * own).sum(), slope.sum(), variance.sum(), (slope * slope).sum()]
    return _Slope(*(float(value) for value in sums / len(scores)))


def _root(scores: NDArray[Any], answers: Ints, start: float) -> tuple[float, _Slope, int]:
    low, high = -LARGEST_LOG_TEMPERATURE, LARGEST_LOG_TEMPERATURE
    u = min(max(math.log(start), low), high)
    iteration = 0
    while True:
        iteration += 1
        beta = math.exp(u)
        at = _slope(scores, answers, beta)
        if at.first < 0.0:
            low = u
        else:
            high = u
        curvature = at.second * beta
        step = -at.first / curvature if curvature > 0.0 else math.inf
        moved = u + step if low < u + step < high else 0.5 * (low + high)
        if at.first == 0.0 or abs(moved - u) < 1e-11 or high - low < 1e-13:
            return beta, at, iteration
        u = moved
