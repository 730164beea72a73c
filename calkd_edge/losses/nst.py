"""Neuron selectivity transfer: the channels of a map are samples of a distribution, compared by a kernel."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from calkd_edge.losses.base import Context, Step
from calkd_edge.losses.features import FeatureLoss, Taps, direction, map_channels, same_size

Kernel = Literal["polynomial", "linear", "gaussian"]


def nst_loss(student: Tensor, teacher: Tensor, kernel: Kernel) -> Tensor:
    """Squared maximum mean discrepancy between the two sets of channels, mean over the batch.

    Each channel's map, flattened and of length 1, is one sample; the two sets may differ in number. Kernels:
    linear x'y, polynomial (x'y)^2, gaussian exp(-||x - y||^2 / (2 s^2)) with s^2 the mean squared distance of
    the pair of sets, taken as a constant.

    Args:
        student: [B, C, H, W].
        teacher: [B, C', H', W']; the larger maps are pooled to the size of the smaller.
        kernel: polynomial, linear or gaussian.

    Source: Huang and Wang, "Like What You Like: Knowledge Distill via Neuron Selectivity Transfer", 2017
    (arXiv 1707.01219), MMD loss.
    """
    ours, theirs = (direction(feature.flatten(2), 2) for feature in same_size(student, teacher))
    products = ours @ ours.mT, theirs @ theirs.mT, ours @ theirs.mT
    if kernel == "polynomial":
        products = products[0].square(), products[1].square(), products[2].square()
    elif kernel == "gaussian":
        products = _gaussian(ours, theirs, products)
    of_student, of_teacher, across = (product.mean((1, 2)) for product in products)
    return (of_student + of_teacher - 2 * across).mean()


def _gaussian(ours: Tensor, theirs: Tensor, products: tuple[Tensor, ...]) -> tuple[Tensor, Tensor, Tensor]:
    """The three products under the Gaussian kernel."""
    lengths = ours.square().sum(2), theirs.square().sum(2)
    of_student = lengths[0][:, :, None] + lengths[0][:, None, :] - 2 * products[0]
    of_teacher = lengths[1][:, :, None] + lengths[1][:, None, :] - 2 * products[1]
    across = lengths[0][:, :, None] + lengths[1][:, None, :] - 2 * products[2]
    width = across.detach().mean((1, 2), keepdim=True)
    width = torch.where(width > 1e-6, width, torch.ones_like(width))  # equal channels: any width works
    return (-of_student / (2 * width)).exp(), (-of_teacher / (2 * width)).exp(), (-across / (2 * width)).exp()


class NST(FeatureLoss):
    """Maximum mean discrepancy between the channels of student and teacher, summed over pairs of stages.

    Published for CIFAR-100 with weight 50 beside 1 of cross-entropy, on the last map of each stage, and with
    the polynomial kernel, the best of the paper's three.

    Args:
        context: its shapes are checked.
        student: taps of the student; their features are maps.
        teacher: as many taps of the teacher, likewise.
        kernel: polynomial (the square of the product), linear or gaussian.

    Source: Huang and Wang, "Like What You Like", 2017 (arXiv 1707.01219).
    """

    def __init__(
        self, context: Context, *, student: Taps, teacher: Taps, kernel: Kernel = "polynomial"
    ) -> None:
        super().__init__(student, teacher)
        self.kernel: Kernel = kernel
        for student_tap, teacher_tap in zip(self.student_taps, self.teacher_taps, strict=True):
            map_channels(context.student_shape(student_tap), student_tap, "nst")
            map_channels(context.teacher_shape(teacher_tap), teacher_tap, "nst")

    def forward(self, step: Step) -> Tensor:
        """A scalar, at least 0."""
        return torch.stack([nst_loss(*pair, self.kernel) for pair in self.pairs(step)]).sum()
