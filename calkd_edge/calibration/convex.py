"""The minimum of a smooth, strongly convex function of many numbers, by truncated Newton steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MAX_STEPS = 200
MAX_PRODUCTS = 400
TOLERANCE = 1e-12
"""Of the decrease that a full Newton step predicts."""


class Local(NamedTuple):
    """A function around one point: its value, its gradient, and its Hessian times a direction."""

    value: float
    gradient: Floats
    product: Callable[[Floats], Floats]


def minimum(at: Callable[[Floats], Local], start: Floats, preconditioner: Floats) -> Floats:
    """Find the point where a strongly convex function is smallest, by Newton steps with conjugate gradients.

    Each step solves Hessian * step = -gradient roughly at first and better near the end, and is halved until
    the function decreases enough. Nothing has to be tuned; strong convexity (a ridge) makes it converge.

    Args:
        at: a point -> the function around it.
        start: the first point.
        preconditioner: positive, about the Hessian's diagonal.

    Source: Nocedal and Wright, Numerical Optimization (2006), algorithm 7.1.
    """
    theta, here = start, at(start)
    for _ in range(MAX_STEPS):
        step = _newton_step(here, preconditioner)
        promised = -float(here.gradient @ step)
        if promised < TOLERANCE:
            # This near, a full step squares the remaining distance.
            return theta + step
        share = 1.0
        while True:
            tried = at(theta + share * step)
            if tried.value <= here.value - 1e-4 * share * promised or share < 1e-10:
                break
            share /= 2
        theta, here = theta + share * step, tried
    return theta


def _newton_step(here: Local, preconditioner: Floats) -> Floats:
    residual = -here.gradient
    size = float(np.linalg.norm(residual))
    if size == 0.0:
        return residual
    good_enough = min(0.1, np.sqrt(size)) * size
    step, scaled = np.zeros_like(residual), residual / preconditioner
    direction, product = scaled, float(residual @ scaled)
    for _ in range(MAX_PRODUCTS):
        image = here.product(direction)
        length = product / float(direction @ image)
        step = step + length * direction
        residual = residual - length * image
        if float(np.linalg.norm(residual)) <= good_enough:
            break
        scaled = residual / preconditioner
        product, before = float(residual @ scaled), product
        direction = scaled + product / before * direction
    return step
