"""Structured matrix scaling: a regularised matrix and bias on top of the best temperature."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from calkd_edge.calibration.convex import Floats, Local, minimum
from calkd_edge.calibration.fitted import Fitted, fits, identity_fit, refuse_excluded, warnings_for
from calkd_edge.errors import RecipeError
from calkd_edge.metrics.inverse_temperature import best_inverse_temperature
from calkd_edge.metrics.per_image import log_softmax, nll_per_image
from calkd_edge.records import Affine, FloatArray, IntArray

MOST_CLASSES = 300
"""Above this, a ridge of C (C - 1) / N shrinks the matrix to almost nothing, and a file holds C^2 numbers."""


@fits("matrix")
def affine(
    logits: FloatArray,
    labels: IntArray,
    classes: tuple[str, ...],
    *,
    ridge: Annotated[float, Field(gt=0, le=1000)] = 1.0,
) -> Fitted:
    """Matrix scaling, softmax((I + A) z / T + b): fits T first, then A and b with a ridge on each.

    A and b minimise NLL + ridge (C/N |diag A|^2 + C (C - 1)/N |A off its diagonal|^2 + C/N |b|^2). Logits are
    centred row by row before the fit, which softmax does not see, so that shifting a row changes nothing; the
    centring is part of the fitted matrix. The map can change the order of classes: gate top-1 again.

    Args:
        logits: [N, C] raw scores.
        labels: [N] int64.
        classes: C names, for warnings.
        ridge: weight of the three ridges; 1 is the published choice.

    Raises:
        RecipeError: more than 300 classes.

    Source: Berta et al., "Structured Matrix Scaling", AISTATS 2026 (arXiv 2511.03685).
    """
    count, size = logits.shape
    if size > MOST_CLASSES:
        raise RecipeError(
            f"calibrator affine: {size} classes need a matrix of {size**2:,} numbers",
            remedy=f"Use temperature or vector; affine supports up to {MOST_CLASSES} classes.",
        )
    refuse_excluded(logits, "affine")
    start = best_inverse_temperature(logits, labels)
    if start.status != "ok":
        return identity_fit(start.status, logits, labels)
    scores = np.asarray(logits, dtype=np.float64) * start.beta
    scores -= scores.mean(axis=1, keepdims=True)
    strengths = np.full((size, size + 1), ridge * size * (size - 1) / count)
    strengths[:, size] = strengths[np.arange(size), np.arange(size)] = ridge * size / count
    theta = _minimum(scores, labels, strengths)
    extra, bias = theta[:, :size], theta[:, size]
    centred = extra - extra.mean(axis=1, keepdims=True)
    matrix = start.beta * (np.eye(size) + centred)
    fitted_map = Affine(scale=tuple(matrix.reshape(-1).tolist()), bias=tuple(bias.tolist()))
    caveats = warnings_for(logits, labels, classes, None)
    after = float(nll_per_image(fitted_map.apply(logits), labels).mean())
    return Fitted(fitted_map, "ok", None, start.nll_before, after, caveats)


def _minimum(scores: Floats, labels: IntArray, strengths: Floats) -> Floats:
    """theta [C, C + 1] = (A, b) of smallest ridged NLL, from 0."""
    count, size = scores.shape
    augmented = np.concatenate([scores, np.ones((count, 1))], axis=1)
    rows = np.arange(count)

    def at(flat: Floats) -> Local:
        theta = flat.reshape(size, size + 1)
        log_p = log_softmax(scores + augmented @ theta.T)
        p = np.exp(log_p)
        error = p.copy()
        error[rows, labels] -= 1.0
        value = float(-log_p[rows, labels].mean() + (strengths * theta**2).sum())
        gradient = error.T @ augmented / count + 2 * strengths * theta

        def product(direction: Floats) -> Floats:
            moved = direction.reshape(size, size + 1)
            change = augmented @ moved.T
            change -= (p * change).sum(axis=1, keepdims=True)
            curved: Floats = (p * change).T @ augmented / count + 2 * strengths * moved
            return curved.reshape(-1)

        return Local(value, gradient.reshape(-1), product)

    p = np.exp(log_softmax(scores))
    diagonal = (p * (1 - p)).T @ augmented**2 / count + 2 * strengths
    return minimum(at, np.zeros(size * (size + 1)), diagonal.reshape(-1)).reshape(size, size + 1)
