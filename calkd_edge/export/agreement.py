"""Whether two files, or two ways to run one, say the same: in float32 to its digits, else but for rounding.

A converted file is held against its ONNX file so, and what a device executes against its simulation.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from calkd_edge.records import FloatArray

FLOATS = ("fp32",)
TOLERANCE = 1e-4
"""Largest difference of float32 logits, per unit of the largest above 1."""

APART = 0.05
"""Rounded files: largest root mean square of the differences over that of the logits. With free
scales the rounded biases of a trained MobileNetV2 make it 0.02, as in ONNX Runtime; with dyadic ones 0."""

NEAR = 4.0
"""Two classes are a near tie where their logits differ by less than this many times what the files do."""

SLOPE, AGREEMENT, FEW = 0.02, 0.99, 2
"""Rounded files: how far the slope between the logits may be from 1, the share of images, near ties left out,
on which both must name the same class, and how many of a few images may differ in that by chance."""


class Agreement(NamedTuple):
    """How near two sets of logits of the same images are.

    Attributes:
        max_logit_difference: over all images and classes.
        allowed: the largest that is; None where the files round.
        apart: root mean square of the differences over that of the logits, each row around its mean.
        slope: of the found logits against the wanted ones, both around their means.
        agreement: share of all images on which both name the same class.
        near_ties: images whose two leading classes rounding may exchange.
        changed: images that are none, and name another class.
        sound: whether all of that is within the limits.
    """

    max_logit_difference: float
    allowed: float | None
    apart: float
    slope: float
    agreement: float
    near_ties: int
    changed: int
    sound: bool


def agreement(found: FloatArray, wanted: FloatArray, *, exact: bool) -> Agreement:
    """Logits [N, C] against those that they should be.

    Args:
        found: of the converted file, or as executed.
        wanted: of the ONNX file, or as simulated.
        exact: whether both compute in float32 on the same numbers, so that only sums may end differently.
    """
    own, other = found.astype(np.float64), wanted.astype(np.float64)
    difference = float(np.abs(own - other).max())
    allowed = TOLERANCE * max(1.0, float(np.abs(other).max()))
    apart, typical, slope = _spread(own, other)
    same = own.argmax(1) == other.argmax(1)
    top_two = np.sort(other, axis=1)[:, -2:]
    near = top_two[:, 1] - top_two[:, 0] <= (2 * allowed if exact else NEAR * typical)
    changed = int((~same & ~near).sum())
    within = difference <= allowed if exact else apart <= APART and abs(slope - 1.0) <= SLOPE
    clear = max(int((~near).sum()), 1)
    # Written so that a NaN, which is below no bound, does not pass.
    sound = (
        bool(np.isfinite(own).all())
        and within
        and changed <= max(0 if exact else FEW, (1.0 - AGREEMENT) * clear)
    )
    return Agreement(
        max_logit_difference=difference,
        allowed=allowed if exact else None,
        apart=apart,
        slope=slope,
        agreement=float(same.mean()),
        near_ties=int(near.sum()),
        changed=changed,
        sound=sound,
    )


def _spread(own: FloatArray, other: FloatArray) -> tuple[float, float, float]:
    """How far apart they are per unit of the logits, and in logits; and their slope."""
    centred, against = (one - one.mean(axis=1, keepdims=True) for one in (own, other))
    whole = max(float((against * against).mean()), 1e-300)
    typical = float(np.sqrt(((centred - against) ** 2).mean()))
    return typical / whole**0.5, typical, float((centred * against).mean()) / whole
