"""Hints: the projected feature of the student should equal the teacher's feature."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from calkd_edge.losses.base import Context, Step
from calkd_edge.losses.features import FeatureLoss, pooled, same_size, vector_size


class Hint(FeatureLoss):
    """Mean squared error between the teacher's feature and the student's after a 1x1 projection.

    Average pooling reduces the larger map to the size of the smaller; a map that is compared with a vector is
    averaged. Published for CIFAR-100 with weight 100 beside 1 of cross-entropy, on the middle stage (there
    with a ReLU after the projection, which the paper's regressor does not have).

    Args:
        context: sets the size of the projection.
        student: tap of the student.
        teacher: tap of the teacher.

    Source: Romero et al., "FitNets: Hints for Thin Deep Nets", ICLR 2015 (arXiv 1412.6550), eq. 3.
    """

    def __init__(self, context: Context, *, student: str, teacher: str) -> None:
        super().__init__((student,), (teacher,))
        shapes = context.student_shape(student), context.teacher_shape(teacher)
        channels = vector_size(shapes[0], student, "hint"), vector_size(shapes[1], teacher, "hint")
        self.is_map = len(shapes[0]) == 3 and len(shapes[1]) == 3
        self.projection: nn.Module = (
            nn.Sequential(nn.Conv2d(*channels, 1, bias=False), nn.BatchNorm2d(channels[1]))
            if self.is_map
            else nn.Linear(*channels)
        )

    def forward(self, step: Step) -> Tensor:
        """A scalar."""
        ((student, teacher),) = self.pairs(step)
        if self.is_map:
            student, teacher = same_size(student, teacher)
        else:
            student, teacher = pooled(student), pooled(teacher)
        return F.mse_loss(self.projection(student), teacher)
