"""Variational information distillation: the student's features should predict the teacher's."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from calkd_edge.losses.base import Context, Step
from calkd_edge.losses.features import FeatureLoss, Taps, as_map, map_channels, same_size

_LEAST_VARIANCE = 1e-5


def vid_loss(mean: Tensor, teacher: Tensor, free_variance: Tensor) -> Tensor:
    """Negative log-likelihood of the teacher's feature, without its constant, mean over all elements.

    ((teacher - mean)^2 / variance + log variance) / 2, with variance = softplus(free_variance) + 1e-5.

    Args:
        mean: [B, C, H, W], predicted from the student's feature.
        teacher: [B, C, H, W].
        free_variance: [C], any real numbers.

    Source: Ahn et al., "Variational Information Distillation for Knowledge Transfer", CVPR 2019
    (arXiv 1904.05835), the loss of intermediate layers.
    """
    variance = (F.softplus(free_variance) + _LEAST_VARIANCE)[None, :, None, None]
    return ((teacher - mean).square() / variance + variance.log()).mean() / 2


class VID(FeatureLoss):
    """Gaussian negative log-likelihood of the teacher's features given the student's, summed over stages.

    Three 1x1 convolutions predict the mean; the variance is one learned number per channel. Published for
    CIFAR-100 with weight 1 beside 1 of cross-entropy, on the last map of each stage.

    Args:
        context: sets the sizes of the layers.
        student: taps of the student.
        teacher: as many taps of the teacher. The larger map is pooled to the size of the smaller.
        initial_variance: of every channel at the start.

    Source: Ahn et al., "Variational Information Distillation", CVPR 2019 (arXiv 1904.05835).
    """

    def __init__(
        self,
        context: Context,
        *,
        student: Taps,
        teacher: Taps,
        initial_variance: Annotated[float, Field(gt=1e-3)] = 5.0,
    ) -> None:
        super().__init__(student, teacher)
        free = initial_variance + math.log(-math.expm1(-initial_variance))  # softplus gives it back
        self.means, self.free_variances = nn.ModuleList(), nn.ParameterList()
        for student_tap, teacher_tap in zip(self.student_taps, self.teacher_taps, strict=True):
            channels_in = map_channels(context.student_shape(student_tap), student_tap, "vid", or_vector=True)
            channels_out = map_channels(
                context.teacher_shape(teacher_tap), teacher_tap, "vid", or_vector=True
            )
            self.means.append(_mean_network(channels_in, channels_out))
            self.free_variances.append(nn.Parameter(torch.full((channels_out,), free)))

    def forward(self, step: Step) -> Tensor:
        """A scalar; below 0 where the student predicts the teacher's features well."""
        total = []
        for (student, teacher), mean, free in zip(
            self.pairs(step), self.means, self.free_variances, strict=True
        ):
            student, teacher = same_size(as_map(student), as_map(teacher))
            total.append(vid_loss(mean(student), teacher, free))
        return torch.stack(total).sum()


def _mean_network(channels_in: int, channels_out: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 1, bias=False),
        nn.ReLU(),
        nn.Conv2d(channels_out, channels_out, 1, bias=False),
        nn.ReLU(),
        nn.Conv2d(channels_out, channels_out, 1, bias=False),
    )
