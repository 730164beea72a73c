"""Scores of each image: log-softmax, NLL, Brier score, confidence, rank of the label.

In scope: checked logits and numbers per image. Out of scope: means, intervals, verdicts, files; everything
but numpy. All arithmetic is float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
FloatingArray = NDArray[np.floating[Any]]
"""Of any floating type: checked inputs are not copied."""

_CHUNK_ELEMENTS = 1 << 18


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


def brier_per_image(logits: ArrayLike, labels: ArrayLike) -> Floats:
    """Squared distance of probabilities from the one-hot label, summed over classes: 0..2, float64 [N]."""
    scores, answers = checked(logits, labels)

    def brier_of_chunk(log_p: Floats, y: Ints) -> Floats:
        p = np.exp(log_p)
        p[np.arange(len(y)), y] -= 1.0
        return np.asarray((p * p).sum(axis=1), dtype=np.float64)

    return _per_chunk(scores, answers, brier_of_chunk)


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


def _chunks(scores: FloatingArray) -> Iterator[slice]:
    step = max(1, _CHUNK_ELEMENTS // scores.shape[1])
    return (slice(start, start + step) for start in range(0, len(scores), step))


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
    label_logit = scores[np.arange(len(scores)), answers][:, None]
    before = np.arange(scores.shape[1])[None, :] < answers[:, None]
    return np.asarray(
        ((scores > label_logit) | ((scores == label_logit) & before)).sum(axis=1), dtype=np.int64
    )
