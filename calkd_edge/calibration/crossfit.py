"""Cross-fitting: calibrated logits of images that the map was not fitted to, from a single labelled set."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from calkd_edge.calibration.fitted import Fitted
from calkd_edge.records import Affine, BoolArray, FloatArray, IntArray
from calkd_edge.records.base import Record

FOLDS = 5


class FoldMaps(Record):
    """Maps that stand for one that is fitted to all rows, each for rows that it was not fitted to.

    Attributes:
        maps: of each fold, fitted to the other folds.
        fold: [N] the position of each row's map.
    """

    maps: tuple[Affine, ...]
    fold: tuple[int, ...]

    def apply(self, logits: FloatArray) -> FloatArray:
        """Calibrated logits [N, C] for the logits of the same images in the same order, of any device."""
        calibrated = np.array(logits, dtype=np.float64)
        fold = np.asarray(self.fold)
        for number, affine in enumerate(self.maps):
            calibrated[fold == number] = affine.apply(calibrated[fold == number])
        return calibrated


def cross_fit(
    fit: Callable[[FloatArray, IntArray], Fitted],
    logits: FloatArray,
    labels: IntArray,
    *,
    folds: int = FOLDS,
    seed: int = 0,
) -> tuple[Fitted, FoldMaps]:
    """The map fitted to all rows, and for each fold a map fitted to the rest.

    A map evaluated on the images it was fitted to looks better than it is: by about k / 2N nats for k
    numbers. A fold stays uncalibrated where the other folds have no optimum; all rows stay uncalibrated where
    they have none together, since then the identity ships.

    Args:
        fit: logits, labels -> Fitted.
        logits: [N, C] raw scores.
        labels: [N].
        folds: their number; at least 2, fewer when images are fewer.
        seed: of the partition.
    """
    total_fit, fold = fit(logits, labels), np.full(len(labels), -1)
    if total_fit.status not in ("ok", "constant"):
        return total_fit, FoldMaps(maps=(), fold=tuple(fold.tolist()))
    maps = []
    for number, inside in enumerate(_folds(len(labels), folds, seed)):
        maps.append(fit(logits[~inside], labels[~inside]).affine)
        fold[inside] = number
    return total_fit, FoldMaps(maps=tuple(maps), fold=tuple(fold.tolist()))


def cross_fitted_confidence(
    fit: Callable[[FloatArray, BoolArray], Callable[[FloatArray], FloatArray]],
    confidence: FloatArray,
    correct: BoolArray,
    *,
    folds: int = FOLDS,
    seed: int = 0,
) -> FloatArray:
    """Cross-fit a map from confidence to confidence, [N]; equal seeds give equal folds."""
    mapped = confidence.copy()
    for inside in _folds(len(confidence), folds, seed):
        mapped[inside] = fit(confidence[~inside], correct[~inside])(confidence[inside])
    return mapped


def _folds(count: int, folds: int, seed: int) -> Iterator[BoolArray]:
    """The rows of each fold, [N] bool; no fold where there are too few rows to leave any out."""
    fold = np.random.default_rng(seed).permutation(count) % min(folds, count)
    if count > 1:
        yield from (fold == held for held in range(int(fold.max()) + 1))
