"""The scales of int8: free, straight from the ranges, or dyadic, so that every machine computes the same.

An int8 product is exact, but a graph of Q/DQ nodes is also run in float, where the order of a sum changes its
last digits: a value at the edge of a rounding step then rounds to either side, and the logits change. Dyadic
scales avoid this: where activation scales are powers of two, weight scales have few binary digits and biases
are multiples of both, every product and every sum of a convolution is an exact float32, in any order. The
cost: ranges up to twice as wide. (With some two thousand inputs or more, all near their limits, a sum could
still exceed float32's 24 digits; real sums are far smaller.)
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Scales = Literal["free", "dyadic"]

LARGEST = 127.0
SMALLEST_SCALE = 2.0**-40
"""A channel of zeros needs a scale above 0 too: TensorRT refuses 0."""

BIAS_STEP = 1.001 * 2.0**-31
CLIPPED = 0.15
"""In powers of two: a range may be clipped by up to a tenth to use the next finer power."""

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
    weight: np.ndarray, bias: np.ndarray | None, activation: float, scales: Scales
) -> np.ndarray:
    """The scale of each output channel, float32 [O].

    Args:
        weight: [O, ...].
        bias: [O], or None.
        activation: the scale of the activation that is multiplied with the weight.
        scales: dyadic scales have as many binary digits as the channel's largest possible sum leaves of
            float32's 24.
    """
    rows = np.abs(weight.astype(np.float64)).reshape(len(weight), -1)
    smallest = np.full(len(rows), SMALLEST_SCALE)
    offset = np.zeros(len(rows))
    if bias is not None and activation > 0:
        # The bias, in units of both scales, must fit into the 32 bits of an integer kernel. This matters for
        # channels that consist of their bias: a weight that it rounds to 0 is below 2^-31 of it.
        offset = np.abs(bias.astype(np.float64)).reshape(-1) / activation
        smallest = np.maximum(smallest, offset * BIAS_STEP)
    scale: NDArray[np.float64] = np.maximum(rows.max(1) / LARGEST, smallest)
    if scales == "dyadic":
        integers = rows.sum(1) / scale + rows.shape[1] / 2  # each may be rounded up by a half
        largest_sum = integers * 2.0**ACTIVATION_DIGITS + offset / scale
        free = FLOAT32_DIGITS - 1 - np.log2(np.maximum(largest_sum, 1.0))
        scale = _rounded_up(scale, np.clip(np.floor(free), 0, MOST_DIGITS))
    return scale.astype(np.float32)


def on_grid(bias: np.ndarray, activation: float, weight: np.ndarray) -> np.ndarray:
    """The bias rounded to a multiple of both scales, float32 [O]; unchanged where that exceeds 32 bits."""
    step = activation * weight.astype(np.float64)
    rounded = np.rint(bias.astype(np.float64) / step)
    return np.where(np.abs(rounded) < 2.0**31, rounded * step, bias).astype(np.float32)


def _rounded_up(scale: NDArray[np.float64], digits: NDArray[np.float64]) -> NDArray[np.float64]:
    """The next larger number with that many binary digits after its first."""
    power = 2.0 ** np.floor(np.log2(scale))
    steps = 2.0**digits
    rounded: NDArray[np.float64] = np.ceil(scale / power * steps) / steps * power
    return rounded
