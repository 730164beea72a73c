"""Transformed teacher matching: temperature on the teacher alone."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from calkd_edge.losses.base import Context, Loss, Step, TeacherEffect, full_precision
from calkd_edge.losses.teacher_effect import effect_on_power
from calkd_edge.records import Affine

Power = Annotated[float, Field(gt=0, le=10)]


def ttm_loss(student: Tensor, teacher: Tensor, power: float, *, weighted: bool) -> Tensor:
    """KL(p^power / sum p^power || softmax(student)), mean over the batch, p = softmax(teacher).

    Args:
        student: logits [B, C].
        teacher: logits [B, C].
        power: gamma of the paper, the inverse of a temperature.
        weighted: multiply each image's term by sum p^power, which for a power below 1 is larger where the
            teacher is less certain.

    Source: Zheng and Yang, "Knowledge Distillation Based on Transformed Teacher Matching", ICLR 2024
    (arXiv 2404.12711), its D(p^gamma || q).
    """
    log_student = F.log_softmax(full_precision(student), dim=1)
    powered = power * F.log_softmax(full_precision(teacher), dim=1)
    log_total = powered.logsumexp(1, keepdim=True)
    divergence = F.kl_div(log_student, powered - log_total, reduction="none", log_target=True).sum(1)
    return (divergence * log_total.squeeze(1).exp() if weighted else divergence).mean()


class TTM(Loss):
    """KL divergence from the teacher's power-transformed probabilities to the student's, at temperature 1.

    Published per pair: for VGG-13 to VGG-8 on CIFAR-100, power 0.1 and weight 45 beside 1 of cross-entropy;
    none is published for mobile students.

    Args:
        context: not read.
        power: gamma; 1 / power is the teacher's temperature.

    Source: Zheng and Yang, ICLR 2024 (arXiv 2404.12711).
    """

    uses_labels = False

    def __init__(self, context: Context, *, power: Power = 0.1) -> None:
        super().__init__()
        self.power = power

    def forward(self, step: Step) -> Tensor:
        """A scalar, in nats."""
        return ttm_loss(step.student.logits, step.teacher.logits, self.power, weighted=False)

    def teacher_effect(self, affine: Affine) -> TeacherEffect:
        """Absorbed: a temperature is the same as another power."""
        return effect_on_power(affine, self.power)


class WTTM(Loss):
    """TTM with each image weighted by the teacher's uncertainty, for powers below 1.

    Published per pair: for VGG-13 to VGG-8 beside CRD, power 0.2 and weight 4; none for mobile students.

    Args:
        context: not read.
        power: gamma; 1 / power is the teacher's temperature.

    Source: Zheng and Yang, ICLR 2024 (arXiv 2404.12711).
    """

    uses_labels = False

    def __init__(self, context: Context, *, power: Power = 0.2) -> None:
        super().__init__()
        self.power = power

    def forward(self, step: Step) -> Tensor:
        """A scalar, in nats times the weight, which lies in 1 .. C^(1 - power) for a power up to 1."""
        return ttm_loss(step.student.logits, step.teacher.logits, self.power, weighted=True)

    def teacher_effect(self, affine: Affine) -> TeacherEffect:
        """Partial: a temperature is another power for the targets, but it changes the images' weights."""
        effect = effect_on_power(affine, self.power)
        if effect.kind != "absorbed":
            return effect
        return TeacherEffect(
            "partial", f"{effect.sentence} for the targets; the weights of the images change as well"
        )
