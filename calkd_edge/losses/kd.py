"""Knowledge distillation in its original form: the student matches the teacher's softened probabilities."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from calkd_edge.losses.base import Context, Loss, Step, TeacherEffect, Temperature, full_precision
from calkd_edge.losses.standardize import standardized
from calkd_edge.losses.teacher_effect import effect_on_softened_logits, effect_on_standardized_logits
from calkd_edge.records import Affine


def kd_loss(student: Tensor, teacher: Tensor, temperature: float | Tensor) -> Tensor:
    """temperature^2 * KL(softmax(teacher / temperature) || softmax(student / temperature)), mean over the
    batch.

    Args:
        student: logits [B, C].
        teacher: logits [B, C].
        temperature: above 0; the square keeps the size of the gradient when the temperature rises.

    Source: Hinton et al., "Distilling the Knowledge in a Neural Network", 2015 (arXiv 1503.02531), section 2.
    """
    log_student = F.log_softmax(full_precision(student) / temperature, dim=1)
    log_teacher = F.log_softmax(full_precision(teacher) / temperature, dim=1)
    divergence = F.kl_div(log_student, log_teacher, reduction="batchmean", log_target=True)
    return divergence * temperature**2


class KD(Loss):
    """KL divergence from the teacher's softened probabilities to the student's.

    Published for CIFAR-100: temperature 4 and weight 0.9 beside 0.1 of cross-entropy; with `standardize`,
    temperature 2 and weight 9 (3 and 9 for MobileNetV2; 3 and 1 under ResNet-50).

    Args:
        context: not read.
        temperature: divides the logits of student and teacher.
        standardize: replace each row by its z-score first (Sun et al., CVPR 2024, arXiv 2403.01427). The
            teacher's temperature then has no effect, and only other terms set the student's confidence.

    Source: Hinton et al., "Distilling the Knowledge in a Neural Network", 2015 (arXiv 1503.02531).
    """

    uses_labels = False

    def __init__(
        self,
        context: Context,
        *,
        temperature: Temperature = 4.0,
        standardize: bool = False,
    ) -> None:
        super().__init__()
        self.temperature, self.standardize = temperature, standardize

    def forward(self, step: Step) -> Tensor:
        """A scalar, in nats times temperature squared."""
        student, teacher = step.student.logits, step.teacher.logits
        if self.standardize:
            student, teacher = standardized(student), standardized(teacher)
        return kd_loss(student, teacher, self.temperature)

    def teacher_effect(self, affine: Affine) -> TeacherEffect:
        """Acts on the teacher's side only; with standardized logits a temperature has no effect."""
        if self.standardize:
            return effect_on_standardized_logits(affine)
        return effect_on_softened_logits(affine, self.temperature)
