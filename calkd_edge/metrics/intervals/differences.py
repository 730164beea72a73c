"""Bounds for the difference of two figures that were measured on different samples."""

from __future__ import annotations

import math

from calkd_edge.metrics.intervals.bounds import Bounds


def independent_difference(first: Bounds, second: Bounds) -> Bounds:
    """first - second, from the bounds of each (MOVER); they keep the level of the bounds they come from.

    The two must come from independent samples. Where both come from the same images and rise and fall
    together, the bounds are wider than they need to be, not narrower.

    Source: Zou and Donner, Statistics in Medicine 27 (2008), 1693-1702.
    """
    value = first.value - second.value
    below = math.hypot(first.value - first.low, second.high - second.value)
    above = math.hypot(first.high - first.value, second.value - second.low)
    return Bounds(value, value - below, value + above)
