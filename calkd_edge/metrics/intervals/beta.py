"""The beta distribution: its cumulative probability and its quantiles, without importing scipy."""

from __future__ import annotations

import math
from functools import lru_cache

TINY = 1e-300
TERMS = 10_000
PRECISION = 1e-15


def beta_cdf(a: float, b: float, x: float) -> float:
    """P(X <= x) of a Beta(a, b), the regularized incomplete beta function.

    Source: its continued fraction, NIST DLMF 8.17.22, evaluated by Lentz's method (Appl. Opt. 15, 1976).
    """
    if not 0 < x < 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):  # it converges quickly on the other side
        return 1.0 - beta_cdf(b, a, 1.0 - x)
    front = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    )
    above, below, fraction = 1.0, 0.0, 1.0
    for term in range(1, TERMS):
        m, is_odd = divmod(term, 2)
        if is_odd:
            numerator = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            numerator = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        below = 1.0 / ((1.0 + numerator * below) or TINY)
        above = (1.0 + numerator / above) or TINY
        fraction *= above * below
        if abs(above * below - 1.0) < PRECISION:
            break
    return front / a / fraction


@lru_cache(maxsize=1 << 14)  # the classes of a data set have few different numbers of images
def beta_quantile(a: float, b: float, probability: float) -> float:
    """The x with P(X <= x) = probability, to the last digits, by Newton steps inside a bracket."""
    low, high, x = 0.0, 1.0, a / (a + b)
    logarithm = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    for _ in range(200):
        error = beta_cdf(a, b, x) - probability
        low, high = (x, high) if error < 0 else (low, x)
        density = math.exp(logarithm + (a - 1) * math.log(x) + (b - 1) * math.log1p(-x))
        step = error / density if density > 0 else math.inf
        new = x - step if low < x - step < high else (low + high) / 2
        if abs(new - x) <= PRECISION * x:
            return new
        x = new
    return x
