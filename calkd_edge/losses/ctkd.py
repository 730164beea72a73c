"""Curriculum temperature: a learned temperature that makes the student's task harder."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from calkd_edge.losses.base import (
    Context,
    Loss,
    Step,
    TeacherEffect,
    Temperature,
    full_precision,
    risen,
)
from calkd_edge.losses.kd import kd_loss
from calkd_edge.losses.teacher_effect import common_scale, effect_on_softened_logits
from calkd_edge.records import Affine


def reversed_gradient(value: Tensor, strength: Tensor) -> Tensor:
    """`value`; its gradient is multiplied by -strength, 0-d float64.

    Source: Ganin and Lempitsky, ICML 2015 (arXiv 1409.7495), section 3.
    """
    return (1 + strength).to(value.dtype) * value.detach() - strength.to(value.dtype) * value


class CTKD(Loss):
    """KD at a temperature that is trained adversarially, by a reversed gradient.

    The temperature is lowest_temperature + temperature_span * sigmoid(theta), the same for every image (the
    paper's global variant). The strength of the reversal rises along half a cosine from 0 to 1. Published
    with weight 0.9 beside 0.1 of cross-entropy.

    Args:
        context: not read.
        lowest_temperature: the limit as theta goes to minus infinity.
        temperature_span: the largest temperature minus the lowest.
        initial: theta at the start; 1 with the other defaults is a temperature of 15.6.
        curriculum_epochs: number of epochs until the reversal has full strength.

    Source: Li et al., "Curriculum Temperature for Knowledge Distillation", AAAI 2023 (arXiv 2211.16231).
    """

    uses_labels = False

    def __init__(
        self,
        context: Context,
        *,
        lowest_temperature: Temperature = 1.0,
        temperature_span: Temperature = 20.0,
        initial: float = 1.0,
        curriculum_epochs: Annotated[float, Field(gt=0)] = 10.0,
    ) -> None:
        super().__init__()
        self.lowest, self.span, self.initial = lowest_temperature, temperature_span, initial
        self.curriculum_epochs = curriculum_epochs
        self.theta = nn.Parameter(torch.tensor(float(initial)))

    def strength(self, step: Step) -> Tensor:
        """Strength of the gradient reversal, 0-d float64 in 0..1."""
        return 0.5 - 0.5 * torch.cos(math.pi * risen(step, self.curriculum_epochs))

    def forward(self, step: Step) -> Tensor:
        """A scalar, in nats times temperature squared; theta's gradient is reversed."""
        theta = reversed_gradient(full_precision(self.theta), self.strength(step))
        temperature = self.lowest + self.span * torch.sigmoid(theta)
        return kd_loss(step.student.logits, step.teacher.logits, temperature)

    def teacher_effect(self, affine: Affine) -> TeacherEffect:
        """Acts: the learned temperature is common to both sides, so the teacher's calibration remains."""
        scale = common_scale(affine)
        if scale is None or scale <= 0 or scale == 1.0:
            return effect_on_softened_logits(affine, self.lowest)
        return TeacherEffect(
            "acts",
            f"the teacher's temperature is {1 / scale:.3g} times the student's; the learned temperature is "
            "common to both and cannot undo this",
        )
