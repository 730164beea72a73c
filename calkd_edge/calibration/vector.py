"""Vector scaling: a scale and a bias for each class, fitted by NLL around the best temperature."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from calkd_edge.calibration.fitted import Fitted, fits, identity_fit, refuse_excluded, warnings_for
from calkd_edge.metrics.inverse_temperature import best_inverse_temperature
from calkd_edge.metrics.per_image import log_softmax, nll_per_image
from calkd_edge.records import Affine, FloatArray, IntArray

MAX_STEPS = 100
TOLERANCE = 1e-10


@fits("vector")
def vector(
    logits: FloatArray,
    labels: IntArray,
    classes: tuple[str, ...],
    *,
    ridge: Annotated[float, Field(gt=0, le=1000)] = 1.0,
) -> Fitted:
    """Vector scaling, softmax(w * z + b): minimises NLL with a ridge towards the best temperature.

    Args:
        logits: [N, C] raw scores, as the exported layer returns them: a map fitted to shifted copies does not
            fold.
        labels: [N] int64.
        classes: C names, for warnings.
        ridge: weight of the squared distance to the temperature's solution, divided by N.

    The objective is convex; the fit takes damped Newton steps with the full 2C x 2C Hessian, in float64.

    The ridge follows structured matrix scaling (arXiv 2511.03685).

    Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017 (arXiv 1706.04599), section 4.2.
    """
    refuse_excluded(logits, "vector")
    start = best_inverse_temperature(logits, labels)
    if start.status != "ok":
        return identity_fit(start.status, logits, labels)
    scores = np.asarray(logits, dtype=np.float64)
    count, size = scores.shape
    centre = np.concatenate([np.full(size, start.beta), np.zeros(size)])
    strength = ridge / count
    theta, (value, gradient, hessian) = centre, _objective(scores, labels, centre, centre, strength)
    for _ in range(MAX_STEPS):
        step = np.linalg.solve(hessian, -gradient)
        if -gradient @ step < TOLERANCE:
            # This near, a full step squares the remaining distance.
            theta = theta + step
            break
        size_of_step = 1.0
        while True:
            tried = theta + size_of_step * step
            objective = _objective(scores, labels, tried, centre, strength)
            if objective[0] <= value + 1e-4 * size_of_step * float(gradient @ step) or size_of_step < 1e-8:
                break
            size_of_step /= 2
        theta, (value, gradient, hessian) = tried, objective
    affine = Affine(scale=tuple(map(float, theta[:size])), bias=tuple(map(float, theta[size:])))
    errors = tuple(map(float, np.sqrt(np.diag(np.linalg.inv(hessian))[:size] / count)))
    after = float(nll_per_image(affine.apply(scores), labels).mean())
    warnings = warnings_for(logits, labels, classes, None)
    return Fitted(affine, "ok", errors, start.nll_before, after, warnings)


def _objective(
    scores: FloatArray, labels: IntArray, theta: FloatArray, centre: FloatArray, strength: float
) -> tuple[float, FloatArray, FloatArray]:
    """Mean NLL plus ridge at theta = (w, b), its gradient [2C] and Hessian [2C, 2C]."""
    count, size = scores.shape
    log_p = log_softmax(scores * theta[:size] + theta[size:])
    p = np.exp(log_p)
    error = p.copy()
    error[np.arange(count), labels] -= 1.0
    away = theta - centre
    value = -log_p[np.arange(count), labels].mean() + 0.5 * strength * away @ away
    gradient = np.concatenate([(error * scores).mean(0), error.mean(0)]) + strength * away
    weighed = np.concatenate([p * scores, p], axis=1)
    hessian = -weighed.T @ weighed / count
    diagonal = [(p * scores**2).mean(0), (p * scores).mean(0), p.mean(0)]
    index = np.arange(size)
    hessian[index, index] += diagonal[0]
    hessian[index, size + index] += diagonal[1]
    hessian[size + index, index] += diagonal[1]
    hessian[size + index, size + index] += diagonal[2]
    hessian[np.arange(2 * size), np.arange(2 * size)] += strength
    return float(value), gradient, hessian
