"""What a calibrated teacher changes, for the ways in which losses read its logits."""

from __future__ import annotations

from calkd_edge.losses.base import TeacherEffect
from calkd_edge.records import Affine

_IDENTITY = TeacherEffect("no_op", "the teacher's calibration is the identity: nothing changes")
_BY_CLASS = TeacherEffect("acts", "the calibrated teacher's softened probabilities differ class by class")


def common_scale(affine: Affine) -> float | None:
    """s when the map is logits -> s * logits + the same number everywhere, else None.

    Softmax does not see a number added everywhere, so such a map is a temperature of 1 / s.
    """
    scale, classes = affine.scale, len(affine.bias)
    if len(set(affine.bias)) > 1:
        return None
    if affine.kind(classes) == "matrix":
        others = {one for place, one in enumerate(scale) if place % (classes + 1)}
        scale = scale[:: classes + 1] if others == {0.0} else ()
    return scale[0] if len(set(scale)) == 1 else None


def effect_on_softened_logits(affine: Affine, temperature: float) -> TeacherEffect:
    """The effect on a loss that reads teacher logits through softmax(logits / temperature).

    Source: with a teacher temperature c, softmax((v / c) / t) = softmax(v / (c t)): a teacher-side
    temperature c t.
    """
    scale = common_scale(affine)
    if scale == 1.0:
        return _IDENTITY
    if scale is None or scale <= 0:
        return _BY_CLASS
    return TeacherEffect(
        "acts",
        f"dividing the teacher's logits by {1 / scale:.3g} is a teacher-side temperature of "
        f"{temperature / scale:.3g}, with the student still at {temperature:g}",
    )


def effect_on_standardized_logits(affine: Affine) -> TeacherEffect:
    """The effect on a loss that reads teacher logits only after their z-score over the classes.

    Source: (a v + b - mean(a v + b)) / std(a v + b) = (v - mean(v)) / std(v) for a > 0.
    """
    scale = common_scale(affine)
    if scale == 1.0:
        return _IDENTITY
    if scale is None or scale <= 0:
        return _BY_CLASS
    return TeacherEffect(
        "no_op",
        "standardize divides the teacher's logits by their own spread, which takes any temperature out; a "
        "calibration by class (vector) would act",
    )


def effect_on_power(affine: Affine, power: float) -> TeacherEffect:
    """The effect on a loss that reads teacher logits only through softmax(power * logits).

    Unlike a temperature that the student shares, the power is the teacher's alone.
    """
    scale = common_scale(affine)
    if scale == 1.0:
        return _IDENTITY
    if scale is None or scale <= 0:
        return _BY_CLASS
    return TeacherEffect(
        "absorbed",
        f"dividing the teacher's logits by {1 / scale:.3g} is the same as the setting power: "
        f"{power * scale:.3g} without calibration",
    )
