"""What every loss sees (Step), what it is built with (Context), and what it says of itself (Loss)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
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
        uses_labels: whether it looks at labels: it is then asked twice of mixed images, once for each label.
        takes_mixed: whether an image may be made of two; not where the loss remembers images by index.
    """

    student_taps: tuple[str, ...] = ()
    teacher_taps: tuple[str, ...] = ()
    uses_teacher: bool = True
    uses_labels: bool = True
    takes_mixed: bool = True

    def __call__(self, step: Step) -> Tensor:
        """The scalar of one step, summed in float32 also where the training autocasts to fewer bits."""
        with torch.autocast(step.student.logits.device.type, enabled=False):
            result: Tensor = super().__call__(step)
        return result

    def forward(self, step: Step) -> Tensor:
        """A scalar."""
        raise NotImplementedError(f"{type(self).__name__} does not define forward")

    def teacher_effect(self, affine: Affine) -> TeacherEffect:
        """How this loss answers to the teacher's calibration; depends on the settings and the map alone."""
        raise NotImplementedError(f"{type(self).__name__} does not define teacher_effect")


def full_precision(tensor: Tensor) -> Tensor:
    """The tensor in float32, or as it is when it has float64."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()
