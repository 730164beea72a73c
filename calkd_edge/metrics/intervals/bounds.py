"""Shared by all intervals: the level, the bounds, the normal quantile."""

from __future__ import annotations

from statistics import NormalDist
from typing import NamedTuple

LEVEL = 0.95
FEWEST_IMAGES_FOR_A_MEAN = 300
"""Below this, bounds of a mean NLL or Brier score (or of their differences) do not reach their level."""
FEWEST_IMAGES_FOR_ECE = 1000
"""Below this, ECE is mostly noise: reported, not gated."""


class Bounds(NamedTuple):
    """A value with its two one-sided bounds."""

    value: float
    low: float
    high: float


def normal_quantile(level: float) -> float:
    """The z with P(Z <= z) = level."""
    return NormalDist().inv_cdf(level)
