"""What a calibration is worth on images it has not seen, when there is only one labelled set."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from calkd_edge.calibration.fitted import Fitted
from calkd_edge.records import FloatArray, IntArray

FOLDS = 5


def cross_fitted(
    fit: Callable[[FloatArray, IntArray], Fitted],
    logits: FloatArray,
    labels: IntArray,
    *,
    folds: int = FOLDS,
    seed: int = 0,
) -> FloatArray:
    """Calibrated logits, float64 [N, C], each row by a map that was fitted to the other folds alone.

    A map judged on the images it was fitted to looks better than it is: by about k / 2N nats for k numbers.
    A fold whose others have no optimum is left as it is.

    Args:
        fit: logits, labels -> Fitted.
        logits: [N, C] raw scores.
        labels: [N].
        folds: how many; at least 2, fewer when images are fewer.
        seed: of the partition.
    """
    values = np.asarray(logits, dtype=np.float64)
    fold = np.random.default_rng(seed).permutation(len(values)) % min(folds, len(values))
    calibrated = values.copy()
    for held in range(int(fold.max()) + 1):
        inside = fold == held
        if inside.all():
            continue
        calibrated[inside] = fit(logits[~inside], labels[~inside]).affine.apply(values[inside])
    return calibrated
