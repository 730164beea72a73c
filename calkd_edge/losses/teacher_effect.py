"""The effect of the teacher's calibration on a loss, by the way in which the loss reads the logits."""

from __future__ import annotations

from calkd_edge.losses.base import TeacherEffect
from calkd_edge.records import Affine

_IDENTITY = TeacherEffect("no_op", "the teacher's calibration is the identity: nothing changes")
_BY_CLASS = TeacherEffect("acts", "calibration changes the teacher's softened probabilities class by class")


def common_scale(affine: Affine) -> float | None:
    """The number s if the map is logits -> s * logits + a constant, else None.

    Softmax ignores the constant, so such a map is a temperature of 1 / s.
    """
    scale, classes = affine.scale, len(affine.bias)
    if len(set(affine.bias)) > 1:
        return None
    if affine.kind(classes) == "matrix":
        off_diagonal = {value for index, value in enumerate(scale) if index % (classes + 1)}
        scale = scale[:: classes + 1] if off_diagonal == {0.0} else ()
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
        "standardize divides the teacher's logits by their standard deviation, which removes any "
        "temperature; a calibration by class (vector) would act",
    )


def effect_on_power(affine: Affine, power: float) -> TeacherEffect:
    """The effect on a loss that reads teacher logits only through softmax(power * logits).

    Unlike the temperature of KD, the power applies to the teacher only.
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
