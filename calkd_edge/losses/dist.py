"""DIST: the student's probabilities should correlate with the teacher's, per image and per class."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.linalg import vector_norm
from torch.nn import functional as F

from calkd_edge.losses.base import Context, Loss, Step, TeacherEffect, Temperature, full_precision
from calkd_edge.losses.teacher_effect import effect_on_softened_logits
from calkd_edge.records import Affine

_EPSILON = 1e-8
_CONSTANT = 1e-7
"""Probabilities with a centred norm below this differ only by rounding and count as constant."""


def pearson(first: Tensor, second: Tensor, dim: int) -> Tensor:
    """Pearson's correlation along `dim`; that of a constant is 0 and has no gradient.

    1e-8 is added to the product of norms, as in the authors' code: it damps classes that are improbable.
    """
    first = first - first.mean(dim, keepdim=True)
    norm = vector_norm(first, dim=dim, keepdim=True)
    first = torch.where(norm > _CONSTANT, first, torch.zeros_like(first))
    second = second - second.mean(dim, keepdim=True)
    lengths = vector_norm(first, dim=dim) * vector_norm(second, dim=dim)
    correlation: Tensor = (first * second).sum(dim) / (lengths + _EPSILON)
    return correlation


def dist_loss(student: Tensor, teacher: Tensor, *, beta: float, gamma: float, temperature: float) -> Tensor:
    """t^2 (beta (1 - mean over images of rho) + gamma (1 - mean over classes of rho)).

    rho is Pearson's correlation of the probabilities softmax(logits / t): over the classes of an image, and
    over the batch's images for a class.

    Args:
        student: logits [B, C].
        teacher: logits [B, C].
        beta: weight of the part over images.
        gamma: weight of the part over classes.
        temperature: t.

    Source: Huang et al., "Knowledge Distillation from A Stronger Teacher", NeurIPS 2022 (arXiv 2205.10536),
    the inter-class and intra-class relations; the factor t^2 is that of the authors' CIFAR-100 code.
    """
    ours = F.softmax(full_precision(student) / temperature, dim=1)
    theirs = F.softmax(full_precision(teacher) / temperature, dim=1)
    by_image = 1 - pearson(ours, theirs, 1).mean()
    by_class = 1 - pearson(ours, theirs, 0).mean()
    return temperature**2 * (beta * by_image + gamma * by_class)


class DIST(Loss):
    """One minus Pearson's correlation with the teacher's probabilities, within images and within classes.

    Published with weight 2 beside 1 of cross-entropy; temperature 4 for CIFAR-100, 1 for ImageNet.

    Args:
        context: not read.
        beta: weight of the correlation over an image's classes.
        gamma: weight of the correlation over the batch's images, per class; it needs a batch of dozens.
        temperature: divides the logits of student and teacher.

    Source: Huang et al., "Knowledge Distillation from A Stronger Teacher", NeurIPS 2022 (arXiv 2205.10536).
    """

    uses_labels = False

    def __init__(
        self,
        context: Context,
        *,
        beta: Annotated[float, Field(ge=0)] = 1.0,
        gamma: Annotated[float, Field(ge=0)] = 1.0,
        temperature: Temperature = 4.0,
    ) -> None:
        super().__init__()
        self.beta, self.gamma, self.temperature = beta, gamma, temperature

    def forward(self, step: Step) -> Tensor:
        """A scalar in 0 .. 2 t^2 (beta + gamma)."""
        return dist_loss(
            step.student.logits,
            step.teacher.logits,
            beta=self.beta,
            gamma=self.gamma,
            temperature=self.temperature,
        )

    def teacher_effect(self, affine: Affine) -> TeacherEffect:
        """Acts: a correlation ignores the scale of probabilities, but a temperature changes their shape."""
        effect = effect_on_softened_logits(affine, self.temperature)
        if effect.kind != "acts":
            return effect
        return TeacherEffect("acts", f"{effect.sentence}; the effect is smaller at higher temperatures")
