"""The verdict whether two files, or two ways to run one, compute the same: exactly in float32, else up to
rounding.

A converted file is compared with its ONNX file, and the outputs of a device with the simulation of its file.
A network that has learnt next to nothing can answer anything after one rounding more: then the yardstick is
what the file itself answers when every pixel moves by one grey level.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from calkd_edge.export.comparison import compare_logits
from calkd_edge.records import FloatArray

FLOATS = ("fp32",)

APART = 0.05
"""Rounded files: largest root mean square of the differences over that of the logits. With free
scales the rounded biases of a trained MobileNetV2 make it 0.02, as in ONNX Runtime; with dyadic ones 0."""

NEAR = 4.0
"""Two classes are a near tie where their logits differ by less than this many times the differences' RMS."""

SLOPE, AGREEMENT, FEW = 0.02, 0.99, 2
"""Rounded files: how far the slope between the logits may be from 1, the share of images, near ties left out,
on which both must predict the same class, and how many of a few images may differ in that by chance."""


class Agreement(NamedTuple):
    """How close two sets of logits of the same images are.

    Attributes:
        max_logit_difference: over all images and classes.
        allowed: the largest that is allowed; None where the files round.
        apart: root mean square of the differences over that of the logits, each row around its mean.
        slope: of the logits against the reference, both around their means.
        agreement: share of all images on which both predict the same class.
        near_ties: images whose two leading classes rounding may exchange.
        changed: other images on which they predict different classes.
        sound: whether all of that is within the limits.
        sensitivity: `apart` of the reference when every pixel moves by one grey level; None if not measured.
            Above `APART` that is the limit, and agreement says little.
    """

    max_logit_difference: float
    allowed: float | None
    apart: float
    slope: float
    agreement: float
    near_ties: int
    changed: int
    sound: bool
    sensitivity: float | None = None

    def description(self, images: int) -> str:
        """The differences as part of a sentence, for an error message."""
        allowed = "" if self.allowed is None else f" (allowed {self.allowed:.3g})"
        if self.sensitivity is not None:
            allowed += f" (one grey level in each pixel moves the simulation by {self.sensitivity:.2%})"
        return (
            f"by {self.max_logit_difference:.3g} in a logit{allowed}, by {self.apart:.2%} of the logits on "
            f"average, on {images} images; the slope between them is {self.slope:.4f}, and {self.changed} "
            "images that are not near ties get another class"
        )


def one_level_off(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Images [N, ...] in which every pixel moved by one grey level, up or down by fixed chance."""
    up = np.random.default_rng(0).random(images.shape, np.float32) < 0.5
    moved = np.where(up, np.minimum(images, 254) + 1, np.maximum(images, 1) - 1)
    return moved.astype(np.uint8)


def agreement(
    logits: FloatArray,
    reference: FloatArray,
    *,
    exact: bool,
    moved: tuple[FloatArray, FloatArray] | None = None,
) -> Agreement:
    """Judge whether logits [N, C] agree with reference logits of the same images.

    Args:
        logits: of the converted file, or of a device.
        reference: of the ONNX file, or of its simulation.
        exact: whether both compute in float32 on the same numbers, so that only the order of sums may differ.
        moved: rounded files: the reference's logits of some images `one_level_off`, and of those images.
    """
    alone = compare_logits(*moved) if moved is not None else None
    compared = compare_logits(logits, reference)
    allowed = compared.float32_tolerance
    margin = 2 * allowed if exact else NEAR * compared.rms_difference
    near_ties, changed = compared.near_ties(margin), compared.changed(margin)
    # Written so that a NaN, which is below no bound, does not pass.
    if exact:
        within = compared.max_difference <= allowed
    else:
        apart, slope = (
            (alone.relative_rms, abs(alone.slope - 1.0)) if alone and alone.is_finite else (0.0, 0.0)
        )
        within = compared.relative_rms <= max(APART, apart) and abs(compared.slope - 1.0) <= max(SLOPE, slope)
    clear = max(compared.images - near_ties, 1)
    return Agreement(
        max_logit_difference=compared.max_difference,
        allowed=allowed if exact else None,
        apart=compared.relative_rms,
        slope=compared.slope,
        agreement=compared.agreement,
        near_ties=near_ties,
        changed=changed,
        sound=compared.is_finite
        and within
        and changed <= max(0 if exact else FEW, (1.0 - AGREEMENT) * clear),
        sensitivity=alone.relative_rms if alone else None,
    )
