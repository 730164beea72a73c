"""Decoupled knowledge distillation: separate weights for the label's probability and the other classes."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from calkd_edge.losses.base import (
    Context,
    Loss,
    Step,
    TeacherEffect,
    Temperature,
    full_precision,
    risen,
)
from calkd_edge.losses.standardize import standardized
from calkd_edge.losses.teacher_effect import effect_on_softened_logits, effect_on_standardized_logits
from calkd_edge.records import Affine


def dkd_loss(
    student: Tensor, teacher: Tensor, labels: Tensor, *, alpha: float, beta: float, temperature: float
) -> Tensor:
    """alpha * TCKD + beta * NCKD, mean over the batch.

    TCKD = t^2 KL(b_teacher || b_student) with b = (p_label, 1 - p_label); NCKD = t^2 KL between the softmaxes
    over the other classes. Computed in log space, so that saturated logits give no infinities.

    Args:
        student: logits [B, C], C >= 2.
        teacher: logits [B, C].
        labels: [B] int64.
        alpha: weight of the label part.
        beta: weight of the other classes' part.
        temperature: t.

    Source: Zhao et al., "Decoupled Knowledge Distillation", CVPR 2022 (arXiv 2203.08679), eq. 7.
    """
    label_student, rest_student, others_student = _parts(full_precision(student) / temperature, labels)
    label_teacher, rest_teacher, others_teacher = _parts(full_precision(teacher) / temperature, labels)
    target = label_teacher.exp() * (label_teacher - label_student)
    target = target + rest_teacher.exp() * (rest_teacher - rest_student)
    non_target = F.kl_div(others_student, others_teacher, reduction="none", log_target=True).sum(1)
    return temperature**2 * (alpha * target + beta * non_target).mean()


def other_classes(logits: Tensor, labels: Tensor) -> Tensor:
    """The logits without each row's label, [B, C - 1], in the order of the classes."""
    # Not by a mask: whoever picks by it waits for its count.
    others = torch.arange(logits.shape[1] - 1, device=logits.device)
    return logits.gather(1, others + (others >= labels[:, None]))


def _parts(scaled: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """log p_label [B], log(1 - p_label) [B] and the log-softmax over the other classes [B, C - 1]."""
    everything = scaled.logsumexp(1)
    others = other_classes(scaled, labels)
    label = scaled.gather(1, labels[:, None]).squeeze(1)
    return label - everything, others.logsumexp(1) - everything, F.log_softmax(others, dim=1)


class DKD(Loss):
    """KD split into target-class and non-target-class parts, with a linear warm-up.

    Published for CIFAR-100: weight 1 beside 1 of cross-entropy, beta 8 for MobileNetV2 and ShuffleNet (6 for
    VGG-13 to MobileNetV2). With `standardize`, temperature 2 or 3, weights 9 to 15 and, for MobileNetV2,
    beta 2.

    Args:
        context: not read.
        alpha: weight of the part on the label's probability.
        beta: weight of the part on the other classes.
        temperature: divides the logits of student and teacher.
        warmup_epochs: the term rises linearly to its full size over this many epochs; 0 for no warm-up.
        standardize: replace each row by its z-score first (arXiv 2403.01427); the teacher's temperature then
            has no effect.

    Source: Zhao et al., "Decoupled Knowledge Distillation", CVPR 2022 (arXiv 2203.08679).
    """

    def __init__(
        self,
        context: Context,
        *,
        alpha: Annotated[float, Field(ge=0)] = 1.0,
        beta: Annotated[float, Field(ge=0)] = 8.0,
        temperature: Temperature = 4.0,
        warmup_epochs: Annotated[float, Field(ge=0)] = 20.0,
        standardize: bool = False,
    ) -> None:
        super().__init__()
        self.alpha, self.beta, self.temperature = alpha, beta, temperature
        self.warmup_epochs, self.standardize = warmup_epochs, standardize

    def forward(self, step: Step) -> Tensor:
        """A scalar; rises linearly to its full size over the warm-up."""
        student, teacher = step.student.logits, step.teacher.logits
        if self.standardize:
            student, teacher = standardized(student), standardized(teacher)
        loss = dkd_loss(
            student,
            teacher,
            step.labels,
            alpha=self.alpha,
            beta=self.beta,
            temperature=self.temperature,
        )
        if not self.warmup_epochs:
            return loss
        return loss * risen(step, self.warmup_epochs, offset=1e-9).to(loss.dtype)

    def teacher_effect(self, affine: Affine) -> TeacherEffect:
        """Acts in both parts; with standardized logits a temperature has no effect."""
        if self.standardize:
            return effect_on_standardized_logits(affine)
        return effect_on_softened_logits(affine, self.temperature)
