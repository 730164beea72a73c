"""Checks of the inputs of confidence metrics: one confidence and one outcome per prediction."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

ROUNDING = 1e-6
"""How far above 1 a probability may lie: a float32 softmax sums to 1 within some roundings."""


def checked_pairs(confidence: ArrayLike, correct: ArrayLike) -> tuple[Floats, Bools]:
    """Check confidences and outcomes; returns them as float64 and bool, both [N].

    Classes play no part here: the scores and matches of a detector are valid inputs too.

    Args:
        confidence: [N] float32 or float64 in 0..1, the probability that the prediction is right.
        correct: [N] bool, whether it was.

    Raises:
        ValueError: there are no predictions, the shapes differ, another dtype (float16 sums lose counts;
            integers are logits or classes), a NaN, a value outside 0..1 (logits are not confidences), or
            outcomes that are not bool.
    """
    values, outcomes = np.asarray(confidence), np.asarray(correct)
    if values.ndim != 1 or values.shape != outcomes.shape:
        raise ValueError(f"confidence and correct must both be [N], got {values.shape} and {outcomes.shape}")
    if len(values) == 0:
        raise ValueError("nothing to measure: there are no predictions")
    if values.dtype not in (np.float32, np.float64):
        raise ValueError(
            f"confidences are {values.dtype}; convert them to float32 or float64 where they are produced"
        )
    if outcomes.dtype != np.bool_:
        raise ValueError(f"correct is {outcomes.dtype}; it must be bool: whether each prediction was right")
    wide = values.astype(np.float64)
    # Written so that a NaN, which is within no range, is refused too.
    within = (wide >= 0.0) & (wide <= 1.0 + ROUNDING)
    if not within.all():
        row = int(np.flatnonzero(~within)[0])
        raise ValueError(
            f"{int((~within).sum())} confidences are not within 0..1, the first is {wide[row]:g} in row "
            f"{row}; apply softmax to logits first"
        )
    return np.minimum(wide, 1.0), outcomes


def reaches(confidence: ArrayLike, threshold: float) -> Bools:
    """Whether each confidence reaches a threshold, [N]: compared in float32, as files return probabilities.

    0.9 is 0.899999976 in float32: an image whose probability is that value is taken at 0.9, by an application
    that compares in float32 and in every figure here.

    >>> reaches([np.float32(0.9), 0.5], 0.9).tolist()
    [True, False]
    """
    return np.asarray(np.asarray(confidence, np.float32) >= np.float32(threshold), dtype=np.bool_)


def checked_probabilities(probabilities: ArrayLike, labels: ArrayLike) -> tuple[Floats, Ints]:
    """Check class probabilities and labels; returns them as float64 [N, C] and int64 [N].

    Args:
        probabilities: [N, C] float32 or float64; every row sums to 1.
        labels: [N] integers in 0..C-1.

    Raises:
        ValueError: see `checked_pairs`; also rows that do not sum to 1, and labels outside 0..C-1.
    """
    values, answers = np.asarray(probabilities), np.asarray(labels)
    if values.ndim != 2 or answers.ndim != 1 or len(values) != len(answers) or values.shape[1] < 2:
        raise ValueError(
            f"probabilities must be [N, C] and labels [N], got {values.shape} and {answers.shape}"
        )
    if not np.issubdtype(answers.dtype, np.integer):
        raise ValueError(f"labels are {answers.dtype}, not integers")
    flat, _ = checked_pairs(values.reshape(-1), np.zeros(values.size, dtype=np.bool_))
    wide = flat.reshape(values.shape)
    sums = wide.sum(axis=1)
    worst = int(np.abs(sums - 1.0).argmax())
    if abs(sums[worst] - 1.0) > 1e-4:
        raise ValueError(f"row {worst} sums to {sums[worst]:.6g}, not to 1; apply softmax to logits first")
    if answers.min() < 0 or answers.max() >= values.shape[1]:
        raise ValueError(
            f"labels span {answers.min()}..{answers.max()}, but there are {values.shape[1]} classes"
        )
    return wide, answers.astype(np.int64)
