"""Proper scores, split into the part that calibration can fix and the part that it cannot."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from calkd_edge.metrics import per_image as scores
from calkd_edge.metrics.inputs import checked_pairs
from calkd_edge.metrics.inverse_temperature import inverse_temperatures_without


class ProperSplit(NamedTuple):
    """Mean NLL in nats, and its two parts: what a temperature can still fix, and the rest."""

    nll: float
    calibration: float
    refinement: float


def nll_split(logits: ArrayLike, labels: ArrayLike, *, folds: int = 5, seed: int = 0) -> ProperSplit:
    """Split NLL into calibration + refinement, with the calibration part cross-fitted over `folds`.

    Each fold is scored at the temperature of the others, so noise does not count as a gain; the calibration
    part may be slightly negative. A fold without an optimum is scored without a temperature.

    Args:
        logits: [N, C] raw scores.
        labels: [N].
        folds: their number; fewer when images are fewer.
        seed: of the partition.

    Raises:
        ValueError: see `scores.checked`.

    Source: Berta et al., "Rethinking Early Stopping: Refine, Then Calibrate" (arXiv 2501.19195): the
    calibration part of a proper score is what recalibration gains.
    """
    values, answers = scores.checked(logits, labels)
    return split_of(values, answers, scores.nll_per_image(values, answers), folds=folds, seed=seed)


def split_of(
    values: scores.FloatingArray,
    answers: scores.Ints,
    before: scores.Floats,
    *,
    folds: int = 5,
    seed: int = 0,
) -> ProperSplit:
    """As `nll_split`, where the NLL of each image is known.

    Args:
        values: [N, C], checked logits.
        answers: [N], checked labels.
        before: [N], NLL of each image.
        folds: their number; fewer when images are fewer.
        seed: of the partition.
    """
    nll = float(before.mean())
    folds = min(folds, len(answers))
    if folds < 2:
        return ProperSplit(nll, 0.0, nll)
    fold = np.random.default_rng(seed).permutation(len(answers)) % folds
    held = [np.flatnonzero(fold == k) for k in range(folds)]
    gained = 0.0
    for images, beta in zip(held, inverse_temperatures_without(values, answers, held), strict=True):
        gained += float((before[images] - scores.scaled_nll(values, answers, beta, images)).sum())
    calibration = gained / len(answers)
    return ProperSplit(nll, calibration, nll - calibration)


def brier_toplabel(confidence: ArrayLike, correct: ArrayLike) -> float:
    """Mean of (confidence - correct)^2 of the predicted class, 0..1: not the Brier score over classes.

    Source: Brier, Monthly Weather Review 78 (1950), of the event "the prediction is right".
    """
    values, outcomes = checked_pairs(confidence, correct)
    return float(((values - outcomes) ** 2).mean())
