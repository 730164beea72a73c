"""Two sets of logits of the same images: how they differ. Verdicts on the differences are made elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from calkd_edge.records import BoolArray, FloatArray

FLOAT32_TOLERANCE = 1e-4
"""Largest difference of two float32 computations, per unit of the largest value above 1."""


def largest_difference(values: FloatArray, reference: FloatArray) -> float:
    """The largest absolute difference of two arrays; infinite where their shapes differ."""
    if values.shape != reference.shape:
        return float("inf")
    return float(np.abs(values - reference).max())


@dataclass(frozen=True)
class LogitComparison:
    """How logits [N, C] differ from reference logits of the same images.

    Attributes:
        images: N.
        max_difference: the largest absolute difference over all images and classes.
        largest: the largest absolute reference logit.
        rms_difference: root mean square of the differences, each row taken around its mean.
        relative_rms: `rms_difference` over the root mean square of the reference, each row around its mean.
        slope: of the logits against the reference, both around their row means.
        is_finite: whether all logits are.
        same_class: [N], whether both predict the same class.
        margin: [N], how far the reference's first class lies above its second.
    """

    images: int
    max_difference: float
    largest: float
    rms_difference: float
    relative_rms: float
    slope: float
    is_finite: bool
    same_class: BoolArray
    margin: FloatArray

    @property
    def float32_tolerance(self) -> float:
        """The largest difference that two float32 computations may have."""
        return FLOAT32_TOLERANCE * max(1.0, self.largest)

    @property
    def agreement(self) -> float:
        """The share of images on which both predict the same class."""
        return float(self.same_class.mean())

    def near_ties(self, margin: float) -> int:
        """How many images have their two leading classes within `margin`."""
        return int((self.margin <= margin).sum())

    def changed(self, margin: float) -> int:
        """How many images, near ties left out, got another class."""
        return int((~self.same_class & ~(self.margin <= margin)).sum())


def compare_logits(logits: FloatArray, reference: FloatArray) -> LogitComparison:
    """Compare logits [N, C] with reference logits [N, C] of the same images; all sums are float64."""
    values, expected = logits.astype(np.float64), reference.astype(np.float64)
    with np.errstate(invalid="ignore"):  # infinite logits become NaN, which is within no tolerance
        centred, against = (rows - rows.mean(axis=1, keepdims=True) for rows in (values, expected))
        power = max(float((against * against).mean()), 1e-300)
        rms = float(np.sqrt(((centred - against) ** 2).mean()))
        slope = float((centred * against).mean()) / power
    top_two = np.sort(expected, axis=1)[:, -2:]
    return LogitComparison(
        images=len(values),
        max_difference=largest_difference(values, expected),
        largest=float(np.abs(expected).max()),
        rms_difference=rms,
        relative_rms=rms / power**0.5,
        slope=slope,
        is_finite=bool(np.isfinite(values).all()),
        same_class=values.argmax(1) == expected.argmax(1),
        margin=top_two[:, 1] - top_two[:, 0],
    )
