"""Overhaul of feature distillation: features before the ReLU, where they carry information."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from calkd_edge.errors import RecipeError
from calkd_edge.losses.base import Context, Step
from calkd_edge.losses.features import FeatureLoss, Taps, map_channels, same_size

_FLOOR = 1e-12


def margins(scale: Tensor, shift: Tensor) -> Tensor:
    """The mean of each channel's negative values, [C], for a normal distribution with these moments.

    It is -3 |scale| where less than 0.1 % of a channel is negative.

    Args:
        scale: [C], the standard deviation up to its sign: the weight of a batch normalisation.
        shift: [C], the mean: its bias.

    Source: Heo et al., "A Comprehensive Overhaul of Feature Distillation", ICCV 2019 (arXiv 1904.01866),
    margin ReLU; the fallback is that of its authors' code.
    """
    scale, shift = scale.double().abs().clamp_min(_FLOOR), shift.double()
    position = shift / scale
    log_negative = torch.special.log_ndtr(-position)
    log_density = -0.5 * position.square() - 0.5 * math.log(2 * math.pi)
    mean = shift - scale * (log_density - log_negative).exp()
    return torch.where(log_negative > math.log(1e-3), mean, -3 * scale)


def ofd_loss(student: Tensor, teacher: Tensor, margin: Tensor) -> Tensor:
    """Partial squared distance to max(teacher, margin), summed over [C, H, W], mean over the batch.

    Where the target is negative, a student below it adds nothing: the ReLU maps both to 0.

    Args:
        student: [B, C, H, W], projected.
        teacher: [B, C, H, W], before its ReLU.
        margin: [C], at most 0.

    Source: Heo et al., ICCV 2019 (arXiv 1904.01866), partial L2.
    """
    target = torch.maximum(teacher, margin[None, :, None, None])
    is_free = (student <= target) & (target <= 0)
    gap = torch.where(is_free, torch.zeros_like(student), student - target)
    return gap.square().flatten(1).sum(1).mean()


class OFD(FeatureLoss):
    """Partial squared distance between features before the ReLU, with most weight on the deepest stage.

    A stage has half the weight of the next deeper stage. Published for CIFAR-100 with weight 0.001 beside 1
    of cross-entropy. Tap the input of a stage's last ReLU ("layer3.2.relu:input").

    Args:
        context: sets the sizes of the projections; provides the teacher's normalisations.
        student: taps of the student; their features are maps before an activation.
        teacher: as many taps of the teacher, likewise.
        teacher_norms: for each teacher tap, the path of the last batch normalisation before it
            ("layer3.2.bn2"): its weight and bias determine the margins.

    Source: Heo et al., "A Comprehensive Overhaul of Feature Distillation", ICCV 2019 (arXiv 1904.01866).
    """

    def __init__(self, context: Context, *, student: Taps, teacher: Taps, teacher_norms: Taps) -> None:
        super().__init__(student, teacher)
        if len(teacher_norms) != len(self.teacher_taps):
            raise RecipeError(
                f"ofd: `teacher` names {len(self.teacher_taps)} taps, `teacher_norms` {len(teacher_norms)}",
                remedy="Name one batch normalisation for each tap of the teacher.",
            )
        self.norm_paths = tuple(teacher_norms)
        # A tuple hides the teacher's modules from torch: the loss must neither train nor save them.
        self._norms = tuple(context.teacher_module(path) for path in self.norm_paths)
        self.projections = nn.ModuleList()
        for student_tap, teacher_tap in zip(self.student_taps, self.teacher_taps, strict=True):
            channels_in = map_channels(context.student_shape(student_tap), student_tap, "ofd")
            channels_out = map_channels(context.teacher_shape(teacher_tap), teacher_tap, "ofd")
            self.projections.append(_projection(channels_in, channels_out))

    def forward(self, step: Step) -> Tensor:
        """A scalar."""
        total, pairs = [], self.pairs(step)
        for stage, (student, teacher) in enumerate(pairs):
            student, teacher = same_size(student, teacher)
            margin = self._margin(stage, teacher)
            loss = ofd_loss(self.projections[stage](student), teacher, margin)
            total.append(loss / 2 ** (len(pairs) - 1 - stage))
        return torch.stack(total).sum()

    def _margin(self, stage: int, teacher: Tensor) -> Tensor:
        """The margins of a stage, read in each step: a plan builds losses with placeholder modules."""
        norm, channels = self._norms[stage], teacher.shape[1]
        is_norm = isinstance(norm, nn.BatchNorm2d | nn.SyncBatchNorm)
        if not is_norm or not norm.affine or norm.num_features != channels:
            raise RecipeError(
                f"ofd: the teacher's '{self.norm_paths[stage]}' is not a batch normalisation of "
                f"{channels} channels with weight and bias: it is {norm}",
                remedy=f"Name the last one before '{self.teacher_taps[stage]}' in teacher_norms.",
            )
        with torch.no_grad():
            return margins(norm.get_parameter("weight"), norm.get_parameter("bias")).to(teacher)


def _projection(channels_in: int, channels_out: int) -> nn.Module:
    convolution = nn.Conv2d(channels_in, channels_out, 1, bias=False)
    nn.init.normal_(convolution.weight, 0.0, math.sqrt(2 / channels_out))
    return nn.Sequential(convolution, nn.BatchNorm2d(channels_out))
