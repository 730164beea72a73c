"""Multi-level logit distillation: images, pairs of images and pairs of classes, at several temperatures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from calkd_edge.losses.base import Context, Loss, Step, TeacherEffect, Temperature, full_precision
from calkd_edge.losses.standardize import standardized
from calkd_edge.losses.teacher_effect import effect_on_softened_logits, effect_on_standardized_logits
from calkd_edge.records import Affine

Temperatures = Annotated[tuple[Temperature, ...], Field(min_length=1)]


def mlkd_loss(
    student: Tensor,
    teacher: Tensor,
    temperatures: Sequence[float],
    *,
    standardize: bool = False,
    masks: bool = True,
) -> Tensor:
    """The sum over temperatures t of three parts, with P [B, C] the probabilities softmax(logits / t).

    Images: t^2 KL(P_teacher || P_student), mean over the batch. Pairs of images: ||P P' of the teacher - P P'
    of the student||^2 / B. Pairs of classes: ||P' P of the teacher - P' P of the student||^2 / C.

    Args:
        student: logits [B, C].
        teacher: logits [B, C].
        temperatures: every t.
        standardize: the first part reads z-scores; the other two read the logits.
        masks: count only images whose top probability (at temperature 1) is at most the batch's median, and
            classes whose total probability is at most the median; the divisors do not change.

    Source: Jin et al., "Multi-Level Logit Distillation", CVPR 2023, its L_ins, L_batch and L_class.
    """
    student, teacher = full_precision(student), full_precision(teacher)
    images, classes = (
        _masks(teacher) if masks else (torch.ones_like(teacher[:, 0]), torch.ones_like(teacher[0]))
    )
    total = student.new_zeros(())
    for temperature in temperatures:
        pair = (standardized(student), standardized(teacher)) if standardize else (student, teacher)
        log_student, log_teacher = (F.log_softmax(logits / temperature, dim=1) for logits in pair)
        divergence = F.kl_div(log_student, log_teacher, reduction="none", log_target=True).sum(1)
        total = total + temperature**2 * (divergence * images).mean()
        ours, theirs = F.softmax(student / temperature, dim=1), F.softmax(teacher / temperature, dim=1)
        by_image = ((theirs @ theirs.T - ours @ ours.T) ** 2 * images).sum() / len(images)
        by_class = ((theirs.T @ theirs - ours.T @ ours) ** 2 * classes).sum() / len(classes)
        total = total + by_image + by_class
    return total


def _masks(teacher: Tensor) -> tuple[Tensor, Tensor]:
    """1 for the images [B] and classes [C] with at most the teacher's median confidence, else 0."""
    probabilities = F.softmax(teacher.detach(), dim=1)
    confidence, frequency = probabilities.amax(1), probabilities.sum(0)
    images = confidence <= confidence.quantile(0.5)
    classes = frequency <= frequency.quantile(0.5)
    return images.to(teacher.dtype), classes.to(teacher.dtype)


class MLKD(Loss):
    """KD at several temperatures, plus squared differences of image-by-image and class-by-class correlations.

    This version uses the single view of the recipe's augmentation. The authors' code adds terms on a second,
    strongly augmented view (RandAugment), and trains at least twice as long: its published figures need both.
    That code also multiplies each averaged term by the mask and averages again, so that its masks do not
    select but act as a factor of about a half; here they select. And it computes the second view's KD terms
    at temperatures 2 and 6 from the first view. Published with weight 0.9 beside 0.1 of cross-entropy; with
    `standardize`, weights 6 to 9 beside 0.1.

    Args:
        context: not read.
        temperatures: of the sum.
        standardize: z-scores for the KD part only (arXiv 2403.01427); the correlations read plain logits, so
            the teacher's temperature still acts through them.
        masks: count only images and classes with at most the teacher's median confidence.

    Source: Jin et al., "Multi-Level Logit Distillation", CVPR 2023 (pages 24276-24285).
    """

    uses_labels = False

    def __init__(
        self,
        context: Context,
        *,
        temperatures: Temperatures = (2.0, 3.0, 4.0, 5.0, 6.0),
        standardize: bool = False,
        masks: bool = True,
    ) -> None:
        super().__init__()
        self.temperatures, self.standardize, self.masks = tuple(temperatures), standardize, masks

    def forward(self, step: Step) -> Tensor:
        """A scalar."""
        return mlkd_loss(
            step.student.logits,
            step.teacher.logits,
            self.temperatures,
            standardize=self.standardize,
            masks=self.masks,
        )

    def teacher_effect(self, affine: Affine) -> TeacherEffect:
        """Acts at every level; with standardized logits a temperature acts only through the correlations."""
        effect = effect_on_softened_logits(affine, max(self.temperatures))
        if effect.kind != "acts":
            return effect
        if self.standardize and effect_on_standardized_logits(affine).kind == "no_op":
            return TeacherEffect(
                "partial",
                "standardize removes the teacher's temperature from the KD part; the masks and the two "
                "correlations read plain logits, on which it acts",
            )
        return TeacherEffect("acts", f"at the highest of its temperatures, {effect.sentence}")
