"""Knowledge review: deep stages of the student help its shallow ones to follow the teacher."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from calkd_edge.losses.base import Context, Step
from calkd_edge.losses.features import FeatureLoss, Taps, as_map, map_channels

_LEVELS = (4, 2, 1)


def hcl_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Hierarchical context loss: squared error of the maps and of their averages over 4x4, 2x2 and 1x1 cells.

    Weights 1, 1/2, 1/4, 1/8 over their sum; levels that are not smaller than the map are left out.

    Args:
        student: [B, C, H, W].
        teacher: [B, C, H, W].

    Source: Chen et al., "Distilling Knowledge via Knowledge Review", CVPR 2021 (arXiv 2104.09044),
    HCL; the weights are those of its authors' code.
    """
    total, weight, weights = F.mse_loss(student, teacher), 1.0, 1.0
    for level in _LEVELS:
        if level >= min(student.shape[2:]):
            continue
        weight /= 2
        cells = F.adaptive_avg_pool2d(student, level), F.adaptive_avg_pool2d(teacher, level)
        total = total + weight * F.mse_loss(*cells)
        weights += weight
    return total / weights


class Fusion(nn.Module):
    """Attention-based fusion of a stage with what the deeper stages left, and its form for the teacher.

    Args:
        given: channels of the student's stage.
        middle: channels of what is passed on to shallower stages.
        wanted: channels of the teacher's stage.
        is_deepest: nothing is left by deeper stages.

    Source: Chen et al., CVPR 2021 (arXiv 2104.09044), ABF.
    """

    def __init__(self, given: int, middle: int, wanted: int, *, is_deepest: bool) -> None:
        super().__init__()
        self.reduce = nn.Sequential(nn.Conv2d(given, middle, 1, bias=False), nn.BatchNorm2d(middle))
        self.expand = nn.Sequential(
            nn.Conv2d(middle, wanted, 3, padding=1, bias=False), nn.BatchNorm2d(wanted)
        )
        self.attention = None if is_deepest else nn.Conv2d(2 * middle, 2, 1)
        for block in (self.reduce, self.expand):
            weight = block[0].weight
            nn.init.kaiming_uniform_(weight, a=1)  # type: ignore[arg-type]  # a Sequential holds Modules

    def forward(self, stage: Tensor, left: Tensor | None, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """[B, given, H, W] and what was left -> [B, wanted, *size] and [B, middle, *size], to pass on."""
        own = self.reduce(stage)
        if self.attention is not None and left is not None:
            left = F.interpolate(left, own.shape[2:], mode="nearest")
            shares = torch.sigmoid(self.attention(torch.cat([own, left], dim=1)))
            own = own * shares[:, :1] + left * shares[:, 1:]
        if own.shape[2:] != size:
            own = F.interpolate(own, size, mode="nearest")
        return self.expand(own), own


class ReviewKD(FeatureLoss):
    """Hierarchical squared error between the teacher's stages and the student's, fused from deep to shallow.

    Published for CIFAR-100 beside 1 of cross-entropy with weight 5 for ShuffleNetV1 and 8 for ShuffleNetV2
    (8 for ImageNet's MobileNet), on the map of each stage before its activation and on the pooled embedding.

    Args:
        context: sizes the layers.
        student: taps of the student from shallow to deep; a vector ("classifier.1:input") may end them.
        teacher: as many taps of the teacher.
        warmup_epochs: the term rises linearly to its full size over as many; 0 for none.
        channels: at most, of what deeper stages pass on; never more than the student's deepest stage has.

    Source: Chen et al., CVPR 2021 (arXiv 2104.09044), ABF and HCL.
    """

    def __init__(
        self,
        context: Context,
        *,
        student: Taps,
        teacher: Taps,
        warmup_epochs: Annotated[float, Field(ge=0)] = 20.0,
        channels: Annotated[int, Field(ge=1)] = 512,
    ) -> None:
        super().__init__(student, teacher)
        self.warmup_epochs = warmup_epochs
        given = [
            map_channels(context.student_shape(tap), tap, "reviewkd", or_vector=True)
            for tap in self.student_taps
        ]
        wanted = [
            map_channels(context.teacher_shape(tap), tap, "reviewkd", or_vector=True)
            for tap in self.teacher_taps
        ]
        middle, last = min(channels, given[-1]), len(given) - 1
        self.fusions = nn.ModuleList(
            Fusion(one, middle, other, is_deepest=place == last)
            for place, (one, other) in enumerate(zip(given, wanted, strict=True))
        )

    def forward(self, step: Step) -> Tensor:
        """A scalar; rises linearly to its full size over the warm-up, from 0 in the first step."""
        share = min(1.0, step.epoch / self.warmup_epochs) if self.warmup_epochs else 1.0
        left: Tensor | None = None
        total = []
        for (student, teacher), fusion in zip(
            reversed(self.pairs(step)), reversed(list(self.fusions)), strict=True
        ):
            wanted = as_map(teacher)
            found, left = fusion(as_map(student), left, wanted.shape[2:])
            total.append(hcl_loss(found, wanted))
        return torch.stack(total).sum() * share
