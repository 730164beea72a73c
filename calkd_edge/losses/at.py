"""Attention transfer: the student's activations should be strong where the teacher's are."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from calkd_edge.losses.base import Context, Step
from calkd_edge.losses.features import FeatureLoss, Taps, direction, map_channels, same_size


def at_loss(student: Tensor, teacher: Tensor, power: float) -> Tensor:
    """Mean squared difference of the two attention maps, each of length 1 per image.

    The attention map is the mean over channels of |feature|^power. The numbers of channels may differ;
    average pooling reduces the larger map to the size of the smaller. The paper's eq. 2 has the norm of the
    difference; the square, and the mean over images and pixels, are those of its authors' code.

    Args:
        student: [B, C, H, W].
        teacher: [B, C', H', W'].
        power: p, at least 1.

    Source: Zagoruyko and Komodakis, "Paying More Attention to Attention", ICLR 2017
    (arXiv 1612.03928), eq. 2.
    """
    first, second = (
        direction(feature.abs().pow(power).mean(1).flatten(1), 1) for feature in same_size(student, teacher)
    )
    return (first - second).square().mean()


class AT(FeatureLoss):
    """Mean squared difference between normalized attention maps, summed over pairs of stages.

    Published for CIFAR-100 with weight 1000 beside 1 of cross-entropy, on the last map of each stage; it is
    known to hurt MobileNetV2 there (58.6 to 59.4 % against 64.6 % without).

    Args:
        context: its shapes are checked.
        student: taps of the student; their features are maps.
        teacher: as many taps of the teacher, likewise.
        power: exponent of the activations before the mean over channels.

    Source: Zagoruyko and Komodakis, "Paying More Attention to Attention", ICLR 2017 (arXiv 1612.03928).
    """

    def __init__(
        self,
        context: Context,
        *,
        student: Taps,
        teacher: Taps,
        power: Annotated[float, Field(ge=1, le=10)] = 2.0,
    ) -> None:
        super().__init__(student, teacher)
        self.power = power
        for student_tap, teacher_tap in zip(self.student_taps, self.teacher_taps, strict=True):
            map_channels(context.student_shape(student_tap), student_tap, "at")
            map_channels(context.teacher_shape(teacher_tap), teacher_tap, "at")

    def forward(self, step: Step) -> Tensor:
        """A scalar."""
        return torch.stack([at_loss(*pair, self.power) for pair in self.pairs(step)]).sum()
