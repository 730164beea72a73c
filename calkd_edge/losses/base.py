"""What every loss sees (Step), what it is built with (Context), and what it says of itself (Loss)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from torch import Tensor, nn

from calkd_edge.records import Affine


@dataclass(frozen=True)
class Outputs:
    """What one network said about a batch: logits [B, C] float32, and features by tap."""

    logits: Tensor
    features: Mapping[str, Tensor]


@dataclass(frozen=True)
class Step:
    """All that a loss may see of one training step.

    Attributes:
        student: its outputs, with gradients.
        teacher: its outputs without gradients, the logits already calibrated.
        labels: [B] int64.
        indices: [B] int64, position of each image in the train split.
        epoch: fractional, from 0.0.
    """

    student: Outputs
    teacher: Outputs
    labels: Tensor
    indices: Tensor
    epoch: float


@dataclass(frozen=True)
class Context:
    """What a loss is built with.

    Attributes:
        num_classes: C.
        train_images: N, how many images the train split holds; indices in a Step are below it.
        epochs: how many epochs the training lasts.
        student_shape: shape [C, H, W] or [D] of the student's feature at a tap, by a dry forward pass.
        teacher_shape: the same for the teacher.
        student_module: the student's module at a path, for a loss that reads its weights.
        teacher_module: the same for the teacher, frozen.
    """

    num_classes: int
    train_images: int
    epochs: int
    student_shape: Callable[[str], tuple[int, ...]]
    teacher_shape: Callable[[str], tuple[int, ...]]
    student_module: Callable[[str], nn.Module]
    teacher_module: Callable[[str], nn.Module]


class TeacherEffect(NamedTuple):
    """What calibrating the teacher changes for a loss, and a sentence that says why."""

    kind: Literal["acts", "absorbed", "partial", "no_op"]
    sentence: str


class Loss(nn.Module):
    """A term of the student's sum. Own layers are trained and thrown away with the loss.

    Attributes:
        student_taps: taps of the student whose features it wants: a module path for what comes out of the
            module, or PATH:input for what goes in.
        teacher_taps: taps of the teacher; a loss with any runs the teacher live.
        uses_teacher: whether it looks at the teacher's logits.
    """

    student_taps: tuple[str, ...] = ()
    teacher_taps: tuple[str, ...] = ()
    uses_teacher: bool = True

    def forward(self, step: Step) -> Tensor:
        """A scalar."""
        raise NotImplementedError(f"{type(self).__name__} does not define forward")

    def teacher_effect(self, affine: Affine) -> TeacherEffect:
        """How this loss answers to the teacher's calibration; depends on the settings and the map alone."""
        raise NotImplementedError(f"{type(self).__name__} does not define teacher_effect")


def effect_on_softened_logits(affine: Affine, temperature: float) -> TeacherEffect:
    """The effect on a loss that reads teacher logits through softmax(logits / temperature).

    Source: with a teacher temperature c, softmax((v / c) / t) = softmax(v / (c t)): a teacher-side
    temperature c t.
    """
    if affine.scale == (1.0,) and len(set(affine.bias)) == 1:  # the same bias everywhere leaves softmax alone
        return TeacherEffect("no_op", "the teacher's calibration is the identity: nothing changes")
    if affine.temperature is not None:
        softened = affine.temperature * temperature
        return TeacherEffect(
            "acts",
            f"dividing the teacher's logits by {affine.temperature:.3g} is a teacher-side temperature of "
            f"{softened:.3g}, with the student still at {temperature:g}",
        )
    return TeacherEffect("acts", "the calibrated teacher's softened probabilities differ class by class")
