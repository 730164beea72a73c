"""Knowledge distillation on softened probabilities."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from calkd_edge.losses.base import Context, Loss, Step, TeacherEffect, effect_on_softened_logits
from calkd_edge.records import Affine


def kd_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """temperature^2 * KL(softmax(teacher / temperature) || softmax(student / temperature)), mean over the
    batch.

    Args:
        student: logits [B, C].
        teacher: logits [B, C].
        temperature: above 0; the square keeps the gradient's size as the temperature rises.

    Source: Hinton et al., "Distilling the Knowledge in a Neural Network", 2015 (arXiv 1503.02531), section 2.
    """
    log_student = F.log_softmax(student.float() / temperature, dim=1)
    log_teacher = F.log_softmax(teacher.float() / temperature, dim=1)
    divergence = F.kl_div(log_student, log_teacher, reduction="batchmean", log_target=True)
    return divergence * temperature**2


class KD(Loss):
    """KL divergence from the teacher's softened probabilities to the student's.

    Source: Hinton et al., 2015 (arXiv 1503.02531).
    """

    def __init__(self, context: Context, *, temperature: Annotated[float, Field(gt=0)] = 4.0) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(self, step: Step) -> Tensor:
        """A scalar, in nats times temperature squared."""
        return kd_loss(step.student.logits, step.teacher.logits, self.temperature)

    def teacher_effect(self, affine: Affine) -> TeacherEffect:
        """Acts: a temperature on the teacher is another temperature on the teacher's side only."""
        return effect_on_softened_logits(affine, self.temperature)
