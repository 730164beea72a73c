"""Knowledge review: deep stages of the student help its shallow stages to match the teacher."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from calkd_edge.losses.base import Context, Step, risen
from calkd_edge.losses.features import FeatureLoss, Taps, as_map, averaged_cells, map_channels

_LEVELS = (4, 2, 1)


def hcl_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Hierarchical context loss: squared error of the maps and of their averages over 4x4, 2x2 and 1x1 cells.

    Weights are 1, 1/2, 1/4, 1/8 over their sum; levels that are not smaller than the map are omitted.

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
        cells = averaged_cells(student, (level, level)), averaged_cells(teacher, (level, level))
        total = total + weight * F.mse_loss(*cells)
        weights += weight
    return total / weights


class Fusion(nn.Module):
    """Attention-based fusion of a stage with the deeper stages, and its projection to the teacher's size.

    Args:
        channels_in: of the student's stage.
        middle: channels of the fused map, which shallower stages read.
        channels_out: of the teacher's stage.
        is_deepest: whether there are no deeper stages.

    Source: Chen et al., CVPR 2021 (arXiv 2104.09044), ABF.
    """

    def __init__(self, channels_in: int, middle: int, channels_out: int, *, is_deepest: bool) -> None:
        super().__init__()
        self.reduce = nn.Sequential(nn.Conv2d(channels_in, middle, 1, bias=False), nn.BatchNorm2d(middle))
        self.expand = nn.Sequential(
            nn.Conv2d(middle, channels_out, 3, padding=1, bias=False), nn.BatchNorm2d(channels_out)
        )
        self.attention = None if is_deepest else nn.Conv2d(2 * middle, 2, 1)
        for block in (self.reduce, self.expand):
            weight = block[0].weight
            nn.init.kaiming_uniform_(weight, a=1)  # type: ignore[arg-type]  # typed as Module

    def forward(self, stage: Tensor, deeper: Tensor | None, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """[B, channels_in, H, W] and the deeper fused map -> [B, channels_out, *size] and [B, middle, *size].

        The second result is the fused map for the next shallower stage.
        """
        fused = self.reduce(stage)
        if self.attention is not None and deeper is not None:
            deeper = F.interpolate(deeper, fused.shape[2:], mode="nearest")
            shares = torch.sigmoid(self.attention(torch.cat([fused, deeper], dim=1)))
            fused = fused * shares[:, :1] + deeper * shares[:, 1:]
        if fused.shape[2:] != size:
            fused = F.interpolate(fused, size, mode="nearest")
        return self.expand(fused), fused


class ReviewKD(FeatureLoss):
    """Hierarchical squared error between the teacher's stages and the student's fused stages.

    Published for CIFAR-100 beside 1 of cross-entropy with weight 5 for ShuffleNetV1 and 8 for ShuffleNetV2
    (8 for ImageNet's MobileNet), on the map of each stage before its activation and on the pooled embedding.

    Args:
        context: sets the sizes of the layers.
        student: taps of the student from shallow to deep; the last may be a vector ("classifier.1:input").
        teacher: as many taps of the teacher.
        warmup_epochs: the term rises linearly to its full size over this many epochs; 0 for no warm-up.
        channels: of the fused maps, at most; never more than the student's deepest stage has.

    Source: Chen et al., "Distilling Knowledge via Knowledge Review", CVPR 2021 (arXiv 2104.09044).
    """

    def __init__(
        self,
        context: Context,
        *,
        student: Taps,
        teacher: Taps,
        warmup_epochs: Annotated[float, Field(ge=0)] = 20.0,
        channels: Annotated[int, Field(ge=1, le=8192)] = 512,
    ) -> None:
        super().__init__(student, teacher)
        self.warmup_epochs = warmup_epochs
        channels_in = [
            map_channels(context.student_shape(tap), tap, "reviewkd", or_vector=True)
            for tap in self.student_taps
        ]
        channels_out = [
            map_channels(context.teacher_shape(tap), tap, "reviewkd", or_vector=True)
            for tap in self.teacher_taps
        ]
        middle, last = min(channels, channels_in[-1]), len(channels_in) - 1
        self.fusions = nn.ModuleList(
            Fusion(of_student, middle, of_teacher, is_deepest=index == last)
            for index, (of_student, of_teacher) in enumerate(zip(channels_in, channels_out, strict=True))
        )

    def forward(self, step: Step) -> Tensor:
        """A scalar; rises linearly to its full size over the warm-up, from 0 in the first step."""
        fused: Tensor | None = None
        total = []
        for (student, teacher), fusion in zip(
            reversed(self.pairs(step)), reversed(list(self.fusions)), strict=True
        ):
            target = as_map(teacher)
            projected, fused = fusion(as_map(student), fused, target.shape[2:])
            total.append(hcl_loss(projected, target))
        loss = torch.stack(total).sum()
        return loss * risen(step, self.warmup_epochs).to(loss.dtype) if self.warmup_epochs else loss
