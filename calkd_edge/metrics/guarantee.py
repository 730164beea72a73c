"""The lowest confidence from which a share of the answers is right, with a guarantee for new images."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from calkd_edge.metrics import intervals
from calkd_edge.metrics.inputs import checked_pairs
from calkd_edge.metrics.intervals import LEVEL
from calkd_edge.metrics.per_image import confidence as confidence_of
from calkd_edge.metrics.per_image import top1
from calkd_edge.metrics.selective import at_threshold
from calkd_edge.records import BoolArray, FloatArray, GuaranteedThreshold, IntArray

GRID = (*(round(k / 200, 3) for k in range(1, 200)), 0.9975, 0.999, 0.9995)
"""The confidences that may be chosen; fixed, so that no image has a say in it."""


def fewest_taken(precision: float, *, level: float = LEVEL) -> int:
    """Images that a threshold must take before their precision can be shown, if all of them are right.

    >>> fewest_taken(0.99)
    299
    """
    return math.ceil(math.log(1.0 - level) / math.log(precision))


def lowest_threshold(
    confidence: ArrayLike, correct: ArrayLike, precision: float, *, level: float = LEVEL
) -> float | None:
    """The lowest threshold of `GRID` whose precision on new images is at least `precision`; None without one.

    With probability `level` over the draw of the images given here, the precision of the returned threshold
    on the population that they come from is at least `precision`. Thresholds are tested in a fixed sequence:
    each by the exact binomial bound of the images that it takes, downwards, and the first one that is not
    shown ends the sequence, so that testing many costs no level. The sequence starts where the confidences
    promise the clearest result, which no label has a say in.

    Args:
        confidence: [N] in 0..1, of images that neither trained the model nor test it.
        correct: [N] bool.
        precision: share of right answers among those at or above the threshold, in (0, 1).
        level: probability of the guarantee.

    Raises:
        ValueError: see `inputs.checked_pairs`; also a precision outside (0, 1).

    Source: Angelopoulos et al., "Learn then Test", arXiv 2110.01052 (fixed sequence testing); Clopper and
    Pearson, Biometrika 26 (1934), for the bound.

    >>> lowest_threshold([0.9] * 400 + [0.4] * 100, [True] * 400 + [False] * 100, 0.99)
    0.405
    """
    values, outcomes = checked_pairs(confidence, correct)
    if not 0.0 < precision < 1.0:
        raise ValueError(f"a precision must lie between 0 and 1, got {precision}")
    order = np.argsort(-values, kind="stable")
    right, promised, spread = (
        np.concatenate([[0.0], np.cumsum(column[order])])
        for column in (outcomes, values, values * (1.0 - values))
    )
    # In float32, as `inputs.reaches` compares.
    taken = np.searchsorted(-values[order].astype(np.float32), -np.asarray(GRID, np.float32), side="right")
    clearest = (promised[taken] - precision * taken) / np.sqrt(spread[taken] + 1.0)
    clearest[taken < fewest_taken(precision, level=level)] = -np.inf
    shown: float | None = None
    for step in range(int(clearest.argmax()), -1, -1):
        count = int(taken[step])
        low = intervals.clopper_pearson(int(right[count]), count, level=level).low if count else 0.0
        if low < precision:
            break
        shown = GRID[step]
    return shown


def answers(logits: FloatArray, labels: IntArray) -> tuple[FloatArray, BoolArray]:
    """Confidence and whether the answer is right, [N] each, of calibrated logits [N, C]."""
    return confidence_of(logits), top1(logits) == labels


def guaranteed_threshold(
    calibration: tuple[ArrayLike, ArrayLike],
    precision: float,
    *,
    test: tuple[ArrayLike, ArrayLike] | None = None,
    level: float = LEVEL,
) -> GuaranteedThreshold:
    """The lowest threshold for a precision, chosen on calibration images and looked up on test images.

    Args:
        calibration: confidence [N] and whether the answers are right [N], see `lowest_threshold`.
        precision: in (0, 1).
        test: the same for images that had no say in it.
        level: probability of the guarantee.

    Raises:
        ValueError: see `lowest_threshold`.
    """
    threshold = lowest_threshold(*calibration, precision, level=level)
    return GuaranteedThreshold(
        precision=precision,
        level=level,
        threshold=threshold,
        calibration_images=len(np.asarray(calibration[0])),
        fewest_taken=fewest_taken(precision, level=level),
        calibration=None if threshold is None else at_threshold(*calibration, threshold),
        test=None if threshold is None or test is None else at_threshold(*test, threshold),
    )
