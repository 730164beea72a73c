"""Which calibration images a map is fitted to, where a quantizer has chosen layers by the others."""

from __future__ import annotations

JUDGING, FITTING = slice(0, None, 2), slice(1, None, 2)
"""Halves of the calibration split: quantizers choose by the first, calibrations are fitted on the second."""

HELD_OUT = "held-out calibration"
"""The split of a map where the other half of the calibration images has chosen layers."""


def rows_of(split: str) -> slice:
    """The calibration images of a map's split."""
    return FITTING if split == HELD_OUT else slice(None)
