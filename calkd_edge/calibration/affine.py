"""Structured matrix scaling: a ridged matrix and bias on top of the best temperature."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from calkd_edge.calibration.convex import Floats, Local, minimum
from calkd_edge.calibration.fitted import Fitted, cautions, refuse_excluded, refused
from calkd_edge.errors import RecipeError
from calkd_edge.metrics.inverse_temperature import best_inverse_temperature
from calkd_edge.metrics.per_image import log_softmax, nll_per_image
from calkd_edge.records import Affine, FloatArray, IntArray

MOST_CLASSES = 300
"""Above, a ridge of C (C - 1) / N leaves next to nothing of the matrix, and a file carries C^2 numbers."""


def affine(
    logits: FloatArray,
    labels: IntArray,
    classes: tuple[str, ...],
    *,
    ridge: Annotated[float, Field(gt=0, le=1000)] = 1.0,
) -> Fitted:
    """softmax((I + A) z / T + b): T fitted first, then A and b with ridges that grow with their number.

    A and b minimise NLL + ridge (C/N |diag A|^2 + C (C - 1)/N |A off its diagonal|^2 + C/N |b|^2). Logits are
    centred row by row before the fit, which softmax does not see, so that shifting a row changes nothing; the
    centring is part of the matrix that ships. It moves the order of classes: top-1 must be gated again.

    Args:
        logits: [N, C] raw scores.
        labels: [N] int64.
        classes: C names, for warnings.
        ridge: weight of the three ridges; 1 is the published choice.

    Raises:
        RecipeError: more than 300 classes.

    Source: Berta et al., "Structured Matrix Scaling for Multi-Class Calibration", AISTATS 2026 (arXiv
    2511.03685).
    """
    count, size = logits.shape
    if size > MOST_CLASSES:
        raise RecipeError(
            f"calibrator affine: {size} classes would take a matrix of {size**2:,} numbers",
            remedy=f"Up to {MOST_CLASSES} classes make sense; take temperature or vector.",
        )
    refuse_excluded(logits, "affine")
    start = best_inverse_temperature(logits, labels)
    if start.status != "ok":
        return refused(start.status, logits, labels)
    scores = np.asarray(logits, dtype=np.float64) * start.beta
    scores -= scores.mean(axis=1, keepdims=True)
    strengths = np.full((size, size + 1), ridge * size * (size - 1) / count)
    strengths[:, size] = strengths[np.arange(size), np.arange(size)] = ridge * size / count
    theta = _minimum(scores, labels, strengths)
    extra, bias = theta[:, :size], theta[:, size]
    centred = extra - extra.mean(axis=1, keepdims=True)
    matrix = start.beta * (np.eye(size) + centred)
    found = Affine(scale=tuple(matrix.reshape(-1).tolist()), bias=tuple(bias.tolist()))
    after = float(nll_per_image(found.apply(logits), labels).mean())
    return Fitted(found, "ok", None, start.nll_before, after, cautions(logits, labels, classes, None))


def _minimum(scores: Floats, labels: IntArray, strengths: Floats) -> Floats:
    """theta [C, C + 1] = (A, b) of smallest ridged NLL, from 0."""
    count, size = scores.shape
    with_one = np.concatenate([scores, np.ones((count, 1))], axis=1)
    rows = np.arange(count)

    def at(flat: Floats) -> Local:
        theta = flat.reshape(size, size + 1)
        log_p = log_softmax(scores + with_one @ theta.T)
        p = np.exp(log_p)
        error = p.copy()
        error[rows, labels] -= 1.0
        value = float(-log_p[rows, labels].mean() + (strengths * theta**2).sum())
        gradient = error.T @ with_one / count + 2 * strengths * theta

        def product(direction: Floats) -> Floats:
            moved = direction.reshape(size, size + 1)
            change = with_one @ moved.T
            change -= (p * change).sum(axis=1, keepdims=True)
            curved: Floats = (p * change).T @ with_one / count + 2 * strengths * moved
            return curved.reshape(-1)

        return Local(value, gradient.reshape(-1), product)

    p = np.exp(log_softmax(scores))
    diagonal = (p * (1 - p)).T @ with_one**2 / count + 2 * strengths
    return minimum(at, np.zeros(size * (size + 1)), diagonal.reshape(-1)).reshape(size, size + 1)
