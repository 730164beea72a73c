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


STUDENT = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571}


def student_t(degrees: int) -> float:
    """Student's t at 97.5 %; more than five degrees of freedom take the value of five, which is larger."""
    return STUDENT[min(degrees, max(STUDENT))]


def normal_quantile(level: float) -> float:
    """The z with P(Z <= z) = level."""
    return NormalDist().inv_cdf(level)
