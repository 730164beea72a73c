"""The scales of int8: as the ranges say, or dyadic, so that every machine computes the same.

An int8 product is exact, but a graph of Q/DQ nodes is also run in float, and there the order of a sum shows
in its last digits: a value at the edge of a rounding step then goes to either side, and the logits move.
Dyadic scales leave no such edge: where activations have powers of two, weights scales of few binary digits
and biases stand on their grid, every product and every sum of a convolution is a float32 without rounding,
whatever the order. That is bought with ranges up to twice as wide. (Of some two thousand inputs and more, all
near their limits, a sum could still pass float32's 24 digits; those that occur are far smaller.)
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Scales = Literal["free", "dyadic"]

LARGEST = 127.0
SMALLEST_SCALE = 2.0**-40
"""A channel of zeros still gets a scale above 0: TensorRT refuses 0."""

BIAS_STEP = 1.001 * 2.0**-31
CLIPPED = 0.15
"""In powers of two: a range is cut by up to a tenth for the sake of the next finer power."""

FLOAT32_DIGITS = 24
ACTIVATION_DIGITS = 7
MOST_DIGITS = 12


def activation_scale(limit: float, scales: Scales) -> float:
    """The scale of a value in [-limit, limit]."""
    scale = max(limit / LARGEST, SMALLEST_SCALE)
    if scales == "free":
        return scale
    return math.ldexp(1.0, math.ceil(math.log2(scale) - CLIPPED))


def weight_scales(
    weight: np.ndarray, bias: np.ndarray | None, of_activation: float, scales: Scales
) -> np.ndarray:
    """The scale of each output channel, float32 [O].

    Args:
        weight: [O, ...].
        bias: [O], or None.
        of_activation: the scale of what is multiplied with the weight.
        scales: dyadic ones have as many binary digits as the channel's largest possible sum leaves of
            float32's 24.
    """
    rows = np.abs(weight.astype(np.float64)).reshape(len(weight), -1)
    smallest = np.full(len(rows), SMALLEST_SCALE)
    offset = np.zeros(len(rows))
    if bias is not None and of_activation > 0:
        # The bias, in units of both scales, must fit into the 32 bits of an integer kernel. This binds for
        # channels that are nothing but their bias: a weight it rounds away is below 2^-31 of that.
        offset = np.abs(bias.astype(np.float64)).reshape(-1) / of_activation
        smallest = np.maximum(smallest, offset * BIAS_STEP)
    scale: NDArray[np.float64] = np.maximum(rows.max(1) / LARGEST, smallest)
    if scales == "dyadic":
        integers = rows.sum(1) / scale + rows.shape[1] / 2  # each may be rounded up by a half
        largest_sum = integers * 2.0**ACTIVATION_DIGITS + offset / scale
        free = FLOAT32_DIGITS - 1 - np.log2(np.maximum(largest_sum, 1.0))
        scale = _rounded_up(scale, np.clip(np.floor(free), 0, MOST_DIGITS))
    return scale.astype(np.float32)


def on_grid(bias: np.ndarray, of_activation: float, of_weight: np.ndarray) -> np.ndarray:
    """The bias as a multiple of both scales, float32 [O]; as it is where that is out of 32 bits' reach."""
    step = of_activation * of_weight.astype(np.float64)
    rounded = np.rint(bias.astype(np.float64) / step)
    return np.where(np.abs(rounded) < 2.0**31, rounded * step, bias).astype(np.float32)


def _rounded_up(scale: NDArray[np.float64], digits: NDArray[np.float64]) -> NDArray[np.float64]:
    """The next number with that many binary digits behind its first."""
    power = 2.0 ** np.floor(np.log2(scale))
    steps = 2.0**digits
    rounded: NDArray[np.float64] = np.ceil(scale / power * steps) / steps * power
    return rounded
