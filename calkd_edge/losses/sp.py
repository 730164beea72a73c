"""Similarity-preserving distillation: the student keeps the teacher's similarities between images."""

from __future__ import annotations

from torch import Tensor

from calkd_edge.losses.base import Context, Step
from calkd_edge.losses.features import FeatureLoss, direction, vector_size


def sp_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """||G_teacher - G_student||^2 / B^2, with G the batch's products of features, each row of length 1.

    Args:
        student: [B, ...], flattened to [B, D].
        teacher: [B, ...], flattened to [B, D'].

    Source: Tung and Mori, "Similarity-Preserving Knowledge Distillation", ICCV 2019 (arXiv 1907.09682),
    its L_SP.
    """
    ours, theirs = student.flatten(1), teacher.flatten(1)
    difference = direction(theirs @ theirs.T, 1) - direction(ours @ ours.T, 1)
    return difference.square().mean()


class SP(FeatureLoss):
    """Squared difference between the normalized similarity matrices of the batch, of student and teacher.

    Published for CIFAR-100 with weight 3000 beside 1 of cross-entropy, on the last map before pooling.

    Args:
        context: its shapes are checked.
        student: tap of the student; its feature is a map or a vector.
        teacher: tap of the teacher, likewise.

    Source: Tung and Mori, "Similarity-Preserving Knowledge Distillation", ICCV 2019 (arXiv 1907.09682).
    """

    def __init__(self, context: Context, *, student: str, teacher: str) -> None:
        super().__init__((student,), (teacher,))
        vector_size(context.student_shape(student), student, "sp")
        vector_size(context.teacher_shape(teacher), teacher, "sp")

    def forward(self, step: Step) -> Tensor:
        """A scalar in 0..4 / B."""
        ((student, teacher),) = self.pairs(step)
        return sp_loss(student, teacher)
