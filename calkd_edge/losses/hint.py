"""Hints: the student's feature, projected, should equal the teacher's."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from calkd_edge.losses.base import Context, Loss, Step, TeacherEffect
from calkd_edge.records import Affine


class Hint(Loss):
    """Mean squared error between the teacher's feature and the student's after a 1x1 projection.

    Maps of different height and width are brought to the smaller of the two by average pooling.

    Source: Romero et al., "FitNets: Hints for Thin Deep Nets", ICLR 2015 (arXiv 1412.6550), eq. 3.
    """

    uses_teacher = False

    def __init__(self, context: Context, *, student: str, teacher: str) -> None:
        super().__init__()
        self.student_taps, self.teacher_taps = (student,), (teacher,)
        given, wanted = context.student_shape(student), context.teacher_shape(teacher)
        self.projection: nn.Module = (
            nn.Sequential(nn.Conv2d(given[0], wanted[0], 1, bias=False), nn.BatchNorm2d(wanted[0]))
            if len(given) == 3 and len(wanted) == 3
            else nn.Linear(given[0], wanted[0])
        )
        self.is_map = len(given) == 3 and len(wanted) == 3

    def forward(self, step: Step) -> Tensor:
        """A scalar."""
        student = step.student.features[self.student_taps[0]].float()
        teacher = step.teacher.features[self.teacher_taps[0]].float()
        if self.is_map:
            size = (min(student.shape[2], teacher.shape[2]), min(student.shape[3], teacher.shape[3]))
            student, teacher = F.adaptive_avg_pool2d(student, size), F.adaptive_avg_pool2d(teacher, size)
        else:
            student, teacher = _pooled(student), _pooled(teacher)
        return F.mse_loss(self.projection(student), teacher)

    def teacher_effect(self, affine: Affine) -> TeacherEffect:
        """None: features lie before the classifier."""
        return TeacherEffect(
            "no_op", "hints read features before the classifier, which no calibration touches"
        )


def _pooled(feature: Tensor) -> Tensor:
    return feature.flatten(2).mean(2) if feature.dim() > 2 else feature
