"""Cross-entropy on the labels."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from calkd_edge.losses.base import Context, Loss, Step, TeacherEffect, full_precision
from calkd_edge.records import Affine


class CrossEntropy(Loss):
    """Mean negative log-likelihood of the labels, optionally smoothed.

    Source: Szegedy et al., CVPR 2016 (arXiv 1512.00567), section 7, for label smoothing.
    """

    uses_teacher = False

    def __init__(
        self, context: Context, *, label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    ) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing

    def forward(self, step: Step) -> Tensor:
        """A scalar, in nats."""
        return F.cross_entropy(
            full_precision(step.student.logits), step.labels, label_smoothing=self.label_smoothing
        )

    def teacher_effect(self, affine: Affine) -> TeacherEffect:
        """None: the loss does not read the teacher."""
        return TeacherEffect("no_op", "cross-entropy reads the labels, not the teacher")
