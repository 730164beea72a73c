"""Bias correction: a number added to the logit of each class, with or without a temperature."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from calkd_edge.calibration.convex import Floats, Local, minimum
from calkd_edge.calibration.fitted import Fitted, fits, identity_fit, refuse_excluded, warnings_for
from calkd_edge.metrics.inverse_temperature import best_inverse_temperature
from calkd_edge.metrics.per_image import log_softmax, nll_per_image
from calkd_edge.records import Affine, FloatArray, IntArray


@fits("bias")
def bias(
    logits: FloatArray,
    labels: IntArray,
    classes: tuple[str, ...],
    *,
    temperature: bool = True,
    ridge: Annotated[float, Field(gt=0, le=1000)] = 1.0,
) -> Fitted:
    """Bias correction, softmax(z / T + b): for classes that are more or less frequent than in training.

    b minimises NLL + ridge C/N |b|^2 at the best temperature, or at T = 1. The map can change the order of
    classes: gate top-1 again.

    Args:
        logits: [N, C] raw scores.
        labels: [N] int64.
        classes: C names, for warnings.
        temperature: whether to fit a temperature first (BCTS), or to keep T = 1 (bias only).
        ridge: weight of the squared norm of b.

    The ridge follows structured matrix scaling (arXiv 2511.03685).

    Source: Alexandari et al., "Bias-Corrected Calibration is Hard-To-Beat", ICML 2020 (arXiv 1901.06852).
    """
    refuse_excluded(logits, "bias")
    start = best_inverse_temperature(logits, labels)
    if temperature and start.status != "ok":
        return identity_fit(start.status, logits, labels)
    beta = start.beta if temperature else 1.0
    fitted_map = Affine(
        scale=(beta,), bias=tuple(_minimum(np.asarray(logits, np.float64) * beta, labels, ridge).tolist())
    )
    caveats = warnings_for(logits, labels, classes, None)
    after = float(nll_per_image(fitted_map.apply(logits), labels).mean())
    return Fitted(fitted_map, "ok", None, start.nll_before, after, caveats)


def _minimum(scores: Floats, labels: IntArray, ridge: float) -> Floats:
    count, size = scores.shape
    strength, rows = ridge * size / count, np.arange(count)
    share = np.bincount(labels, minlength=size) / count

    def at(theta: Floats) -> Local:
        log_p = log_softmax(scores + theta)
        p = np.exp(log_p)
        mean = p.mean(axis=0)

        def product(direction: Floats) -> Floats:
            curved: Floats = mean * direction - (p.T @ (p @ direction)) / count + 2 * strength * direction
            return curved

        value = float(-log_p[rows, labels].mean() + strength * theta @ theta)
        return Local(value, mean - share + 2 * strength * theta, product)

    p = np.exp(log_softmax(scores))
    return minimum(at, np.zeros(size), (p * (1 - p)).mean(axis=0) + 2 * strength)
