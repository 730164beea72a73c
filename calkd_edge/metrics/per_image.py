"""Scores of each image: log-softmax, NLL, Brier score, confidence, rank of the label.

In scope: checked logits and numbers per image. Out of scope: means, intervals, verdicts, files; everything
but numpy. All arithmetic is float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
FloatingArray = NDArray[np.floating[Any]]
"""Of any floating type: checked inputs are not copied."""

_CHUNK_ELEMENTS = 1 << 15
"""Of the rows that are computed together: with their float64 copies they stay in a core's cache."""


def checked(logits: ArrayLike, labels: ArrayLike) -> tuple[FloatingArray, Ints]:
    """Check logits and labels; returns them as arrays, without a copy where they are arrays already.

    Args:
        logits: [N, C] float32 or float64, raw scores. -inf marks a class that a row excludes.
        labels: [N] integers in 0..C-1.

    Raises:
        ValueError: no rows, fewer than two classes, wrong shapes, another dtype (float16 sums lose counts),
            a NaN, a +inf, a row that excludes every class, or a label that is out of range or excluded in
            its row.
    """
    scores, answers = checked_shapes(logits, labels)
    with np.errstate(invalid="ignore"):
        total = float(scores.sum(dtype=np.float64))
    if not math.isfinite(total):
        check_values(scores, answers)
    return scores, answers


def checked_shapes(
    logits: ArrayLike, labels: ArrayLike, *, also: tuple[type, ...] = ()
) -> tuple[FloatingArray, Ints]:
    """Check shapes, types and labels as `checked` does, but not the logits' values; see `check_values`.

    Args:
        logits: [N, C]; a memory-mapped array is not read.
        labels: [N] integers.
        also: further dtypes, which the caller converts before it sums.
    """
    scores, answers = np.asarray(logits), np.asarray(labels)
    if scores.ndim != 2 or answers.ndim != 1 or len(scores) != len(answers):
        raise ValueError(f"logits must be [N, C] and labels [N], got {scores.shape} and {answers.shape}")
    if len(scores) == 0 or scores.shape[1] < 2:
        raise ValueError(
            f"nothing to score: logits are {scores.shape}, and at least 1 row and 2 classes are needed"
        )
    if scores.dtype not in (np.float32, np.float64, *also):
        raise ValueError(
            f"logits are {scores.dtype}; convert them to float32 or float64 where they are produced"
        )
    if not np.issubdtype(answers.dtype, np.integer):
        raise ValueError(f"labels are {answers.dtype}, not integers")
    answers = answers.astype(np.int64, copy=False)
    if answers.min() < 0 or answers.max() >= scores.shape[1]:
        raise ValueError(
            f"labels span {answers.min()}..{answers.max()}, but there are {scores.shape[1]} classes"
        )
    return scores, answers


def check_values(scores: FloatingArray, answers: Ints, *, first_row: int = 0) -> None:
    """Refuse logits that are NaN or +inf, and labels that are excluded in their row.

    Args:
        scores: [N, C], of checked shape.
        answers: [N], likewise.
        first_row: number of the first row, for messages.

    Raises:
        ValueError: with the number of such rows, and the first.
    """
    bad = np.isnan(scores) | (scores == np.inf)
    if bad.any():
        row = first_row + int(np.flatnonzero(bad.any(axis=1))[0])
        raise ValueError(
            f"logits hold NaN or +inf in {int(bad.any(axis=1).sum())} rows, the first is row {row}"
        )
    excluded = scores[np.arange(len(scores)), answers] == -np.inf
    if excluded.any():
        row = first_row + int(np.flatnonzero(excluded)[0])
        raise ValueError(
            f"the logit of the label itself is -inf in {int(excluded.sum())} rows, the first is row {row}"
        )


def log_softmax(logits: ArrayLike) -> Floats:
    """Log-probabilities, float64 [N, C]; a -inf logit stays -inf. Does not underflow as log(softmax) does."""
    scores = np.asarray(logits, dtype=np.float64)
    shifted: Floats = scores - scores.max(axis=1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return shifted


def nll_per_image(logits: ArrayLike, labels: ArrayLike) -> Floats:
    """Negative log-likelihood of each label in nats, float64 [N]."""
    scores, answers = checked(logits, labels)
    return _per_chunk(scores, answers, lambda log_p, y: -log_p[np.arange(len(y)), y])


def scaled_nll(scores: FloatingArray, answers: Ints, beta: float, images: Ints) -> Floats:
    """`nll_per_image` of beta times the logits of some images, float64 [M]; the logits are not copied.

    Args:
        scores: [N, C], checked.
        answers: [N], checked.
        beta: the inverse temperature.
        images: [M], their rows.
    """
    parts = []
    for chunk in _chunks(scores, len(images)):
        rows = images[chunk]
        log_p = log_softmax(np.asarray(scores[rows], dtype=np.float64) * beta)
        parts.append(-log_p[np.arange(len(rows)), answers[rows]])
    return np.concatenate(parts)


def brier_per_image(logits: ArrayLike, labels: ArrayLike) -> Floats:
    """Squared distance of probabilities from the one-hot label, summed over classes: 0..2, float64 [N]."""
    scores, answers = checked(logits, labels)

    def brier_of_chunk(log_p: Floats, y: Ints) -> Floats:
        p = np.exp(log_p)
        p[np.arange(len(y)), y] -= 1.0
        return np.asarray((p * p).sum(axis=1), dtype=np.float64)

    return _per_chunk(scores, answers, brier_of_chunk)


class SoftmaxFigures(NamedTuple):
    """What one pass over logits gives of each image, float64 [N] each.

    `nll`, `brier` and `confidence` are those of `nll_per_image`, `brier_per_image` and `confidence`;
    a log-probability is (logit - maximum) - log_total.
    """

    nll: Floats
    brier: Floats
    confidence: Floats
    maximum: Floats
    log_total: Floats


def softmax_figures(scores: FloatingArray, answers: Ints) -> SoftmaxFigures:
    """The figures of each image in one pass; bit for bit those of the functions for each alone.

    Args:
        scores: [N, C], checked.
        answers: [N], checked.
    """
    result = SoftmaxFigures(*np.empty((5, len(scores))))
    for rows in _chunks(scores):
        shifted = np.asarray(scores[rows], dtype=np.float64)
        maximum = shifted.max(axis=1)
        shifted = shifted - maximum[:, None]
        p = np.exp(shifted)
        total = p.sum(axis=1)
        log_total = np.log(total)
        shifted -= log_total[:, None]
        label = (np.arange(len(shifted)), answers[rows])
        result.nll[rows] = -shifted[label]
        np.exp(shifted, out=p)
        p[label] -= 1.0
        result.brier[rows] = np.multiply(p, p, out=p).sum(axis=1)
        result.confidence[rows] = 1.0 / total
        result.maximum[rows], result.log_total[rows] = maximum, log_total
    return result


def kl_per_image(logits: ArrayLike, reference: ArrayLike) -> Floats:
    """Kullback-Leibler divergence of probabilities from those of a reference, in nats, float64 [N].

    Args:
        logits: [N, C].
        reference: [N, C]; its probabilities are the weights: KL(reference || logits).
    """
    scores, others = (np.asarray(values, dtype=np.float64) for values in (logits, reference))
    parts = []
    for rows in _chunks(others):
        log_q, log_p = log_softmax(scores[rows]), log_softmax(others[rows])
        p = np.exp(log_p)
        with np.errstate(invalid="ignore"):  # where p is 0, its logarithm may be -inf
            parts.append(np.where(p > 0, p * (log_p - log_q), 0.0).sum(axis=1))
    return np.concatenate(parts).astype(np.float64)


def _per_chunk(scores: FloatingArray, answers: Ints, figure: Callable[[Floats, Ints], Floats]) -> Floats:
    parts = [figure(log_softmax(scores[rows]), answers[rows]) for rows in _chunks(scores)]
    return np.concatenate(parts).astype(np.float64)


def _chunks(scores: FloatingArray, rows: int | None = None) -> Iterator[slice]:
    step = max(1, _CHUNK_ELEMENTS // scores.shape[1])
    return (slice(start, start + step) for start in range(0, len(scores) if rows is None else rows, step))


def top1(logits: ArrayLike) -> Ints:
    """The predicted class of each row, [N]; the first of tied maxima."""
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
    """The number of classes ranked before the label, [N]: 0 is a top-1 hit; of ties the lower index leads."""
    scores, answers = checked(logits, labels)
    index = np.arange(scores.shape[1])[None, :]
    ranks = np.empty(len(scores), dtype=np.int64)
    for rows in _chunks(scores):
        chunk, labelled = scores[rows], answers[rows][:, None]
        label_logit = np.take_along_axis(chunk, labelled, axis=1)
        before = (chunk > label_logit) | ((chunk == label_logit) & (index < labelled))
        ranks[rows] = before.sum(axis=1)
    return ranks
