"""Normalized knowledge distillation: the label's probability, and the distribution over the other classes."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from calkd_edge.losses.base import Context, Loss, Step, TeacherEffect, Temperature, full_precision
from calkd_edge.losses.dkd import other_classes
from calkd_edge.losses.teacher_effect import common_scale, effect_on_softened_logits
from calkd_edge.records import Affine


def nkd_loss(student: Tensor, teacher: Tensor, labels: Tensor, *, gamma: float, temperature: float) -> Tensor:
    """-p_label log q_label - gamma t^2 sum over the other classes of p' log q', mean over the batch.

    p and q are the teacher's and the student's softmax at temperature 1; p' and q' those at temperature t
    over the other classes alone, each summing to 1. These are cross-entropies: at student = teacher the value
    is not 0, and the first part still raises the label's probability.

    Args:
        student: logits [B, C], C >= 2.
        teacher: logits [B, C].
        labels: [B] int64.
        gamma: weight of the other classes' part.
        temperature: t, of that part alone.

    Source: Yang et al., "From Knowledge Distillation to Self-Knowledge Distillation", ICCV 2023
    (arXiv 2303.13005), its L_NKD without the cross-entropy.
    """
    student, teacher, column = full_precision(student), full_precision(teacher), labels[:, None]
    log_label = F.log_softmax(student, dim=1).gather(1, column).squeeze(1)
    teacher_label = F.softmax(teacher, dim=1).gather(1, column).squeeze(1)
    log_others = F.log_softmax(other_classes(student, labels) / temperature, dim=1)
    teacher_others = F.softmax(other_classes(teacher, labels) / temperature, dim=1)
    target = -teacher_label * log_label
    non_target = -(teacher_others * log_others).sum(1)
    return (target + gamma * temperature**2 * non_target).mean()


class NKD(Loss):
    """Cross-entropy with the teacher's probability of the label and, normalized, of the other classes.

    Published with weight 1 beside 1 of cross-entropy. The defaults are those of CIFAR-100 (ResNet-34 to
    ResNet-18; none is published for mobile students); for ImageNet's MobileNet, temperature 1 and gamma 1.5.

    Args:
        context: not read.
        gamma: weight of the part on the other classes.
        temperature: of that part; the part on the label has temperature 1.

    Source: Yang et al., ICCV 2023 (arXiv 2303.13005).
    """

    def __init__(
        self,
        context: Context,
        *,
        gamma: Annotated[float, Field(ge=0)] = 3.5,
        temperature: Temperature = 3.0,
    ) -> None:
        super().__init__()
        self.gamma, self.temperature = gamma, temperature

    def forward(self, step: Step) -> Tensor:
        """A scalar, in nats."""
        return nkd_loss(
            step.student.logits,
            step.teacher.logits,
            step.labels,
            gamma=self.gamma,
            temperature=self.temperature,
        )

    def teacher_effect(self, affine: Affine) -> TeacherEffect:
        """Acts in both parts: it changes the label's weight and the distribution of the other classes."""
        scale = common_scale(affine)
        if scale is None or scale <= 0 or scale == 1.0:
            return effect_on_softened_logits(affine, self.temperature)
        return TeacherEffect(
            "acts",
            f"dividing the teacher's logits by {1 / scale:.3g} is a teacher-side temperature of that size in "
            f"the label's part and of {self.temperature / scale:.3g} in the part on the other classes",
        )
