"""What a calibration is worth on images it has not seen, when there is only one labelled set."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from calkd_edge.calibration.fitted import Fitted
from calkd_edge.records import BoolArray, FloatArray, IntArray

FOLDS = 5


def cross_fitted(
    fit: Callable[[FloatArray, IntArray], Fitted],
    logits: FloatArray,
    labels: IntArray,
    *,
    folds: int = FOLDS,
    seed: int = 0,
) -> tuple[Fitted, FloatArray]:
    """The map fitted to all rows, and logits [N, C] each calibrated by a map fitted to the other folds alone.

    A map judged on the images it was fitted to looks better than it is: by about k / 2N nats for k numbers.
    A fold whose others have no optimum is left as it is; where all rows together have none, every row is, for
    that is what ships.

    Args:
        fit: logits, labels -> Fitted.
        logits: [N, C] raw scores.
        labels: [N].
        folds: how many; at least 2, fewer when images are fewer.
        seed: of the partition.
    """
    values = np.asarray(logits, dtype=np.float64)
    calibrated, whole = values.copy(), fit(logits, labels)
    if whole.status not in ("ok", "constant"):
        return whole, calibrated
    for inside in _folds(len(values), folds, seed):
        calibrated[inside] = fit(logits[~inside], labels[~inside]).affine.apply(values[inside])
    return whole, calibrated


def cross_fitted_confidence(
    fit: Callable[[FloatArray, BoolArray], Callable[[FloatArray], FloatArray]],
    confidence: FloatArray,
    correct: BoolArray,
    *,
    folds: int = FOLDS,
    seed: int = 0,
) -> FloatArray:
    """The same for maps from confidence to confidence, [N]; equal seeds give equal folds."""
    mapped = confidence.copy()
    for inside in _folds(len(confidence), folds, seed):
        mapped[inside] = fit(confidence[~inside], correct[~inside])(confidence[inside])
    return mapped


def _folds(count: int, folds: int, seed: int) -> Iterator[BoolArray]:
    """[N] bool for each fold: which rows it holds; nothing where there are too few to leave any out."""
    fold = np.random.default_rng(seed).permutation(count) % min(folds, count)
    if count > 1:
        yield from (fold == held for held in range(int(fold.max()) + 1))
