"""The interface of a loss: its input (Step), its construction (Context) and its properties (Loss)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn

from calkd_edge.records import Affine

Temperature = Annotated[float, Field(ge=0.01, le=1000)]
"""Beyond, float32 loses the softened probabilities."""


@dataclass(frozen=True)
class Outputs:
    """Outputs of a network for a batch: logits [B, C] float32, and features by tap."""

    logits: Tensor
    features: Mapping[str, Tensor]


@dataclass(frozen=True)
class Step:
    """The data of one training step that a loss may read.

    Attributes:
        student: outputs with gradients.
        teacher: outputs without gradients; the logits are calibrated.
        labels: [B] int64.
        indices: [B] int64, position of each image in the train split.
        epoch: fractional, from 0.0; see `epoch_on_device`.
        filled: the epoch as a tensor that the training fills in place in each step; None outside of one.
    """

    student: Outputs
    teacher: Outputs
    labels: Tensor
    indices: Tensor
    epoch: float
    filled: Tensor | None = None

    @property
    def epoch_on_device(self) -> Tensor:
        """The epoch, 0-d float64 on the device, the same tensor in every step of a training.

        A loss that computes from it can be part of a step that a GPU repeats; a number would stay there.
        """
        if self.filled is not None:
            return self.filled
        return torch.tensor(self.epoch, dtype=torch.float64, device=self.labels.device)


@dataclass(frozen=True)
class Context:
    """The facts about a training with which a loss is built.

    Attributes:
        num_classes: C.
        train_images: N, the number of images in the train split; indices in a Step are below it.
        epochs: number of epochs of the training.
        student_shape: tap -> shape [C, H, W] or [D] of the student's feature, from a trial forward pass.
        teacher_shape: the same for the teacher.
        student_module: path -> the student's module, for a loss that reads its weights.
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
    """The effect of the teacher's calibration on a loss, and a sentence that gives the reason."""

    kind: Literal["acts", "absorbed", "partial", "no_op"]
    sentence: str


class Loss(nn.Module):
    """A term of the student's loss. Layers of a loss are trained with the student and then discarded.

    Attributes:
        student_taps: taps of the student whose features it reads: a module path for the module's output, or
            PATH:input for its input.
        teacher_taps: taps of the teacher; a loss with any needs the teacher in each step.
        uses_teacher: whether it reads the teacher's logits.
        uses_labels: whether it reads labels; for mixed images it is then computed twice, once per label.
        takes_mixed: whether images may be mixed; False where the loss stores embeddings by image index.
    """

    student_taps: tuple[str, ...] = ()
    teacher_taps: tuple[str, ...] = ()
    uses_teacher: bool = True
    uses_labels: bool = True
    takes_mixed: bool = True

    def __call__(self, step: Step) -> Tensor:
        """The scalar of one step, in float32 also under autocast."""
        with torch.autocast(step.student.logits.device.type, enabled=False):
            result: Tensor = super().__call__(step)
        return result

    def forward(self, step: Step) -> Tensor:
        """A scalar."""
        raise NotImplementedError(f"{type(self).__name__} does not define forward")

    def teacher_effect(self, affine: Affine) -> TeacherEffect:
        """The effect of the teacher's calibration; it depends only on the loss's settings and the map."""
        raise NotImplementedError(f"{type(self).__name__} does not define teacher_effect")


def risen(step: Step, epochs: float, *, offset: float = 0.0) -> Tensor:
    """The share of a linear warm-up that a step has reached, 0-d float64 in 0..1, on the device.

    Args:
        step: with its epoch.
        epochs: of the warm-up, above 0.
        offset: in epochs, added to the step's.
    """
    return ((step.epoch_on_device + offset) / epochs).clamp_max(1.0)


def full_precision(tensor: Tensor) -> Tensor:
    """The tensor in float32; float64 stays."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()
