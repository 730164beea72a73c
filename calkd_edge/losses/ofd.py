"""Overhaul of feature distillation: features before the ReLU, as far as they say anything."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from calkd_edge.errors import RecipeError
from calkd_edge.losses.base import Context, Step
from calkd_edge.losses.features import FeatureLoss, Taps, map_channels, same_size

_FLOOR = 1e-12


def margins(scale: Tensor, shift: Tensor) -> Tensor:
    """The mean of each channel's negative values, [C], if it is normal with these moments; -3 |scale| where
    less than 0.1 % of a channel is negative.

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

    Where the target is negative, a student below it costs nothing: the ReLU hides both.

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
    """Partial squared distance between features before the ReLU, the deepest stage counting most.

    A stage counts half as much as the next deeper one. Published for CIFAR-100 with weight 0.001 beside 1 of
    cross-entropy. Tap what goes into a stage's last ReLU ("layer3.2.relu:input").

    Args:
        context: sizes the projections; gives the teacher's normalisations.
        student: taps of the student, maps before an activation.
        teacher: as many taps of the teacher, likewise.
        teacher_norms: for each teacher tap, the path of the batch normalisation that comes last before it
            ("layer3.2.bn2"): its weight and bias give the margins.

    Source: Heo et al., ICCV 2019 (arXiv 1904.01866).
    """

    def __init__(self, context: Context, *, student: Taps, teacher: Taps, teacher_norms: Taps) -> None:
        super().__init__(student, teacher)
        if len(teacher_norms) != len(self.teacher_taps):
            raise RecipeError(
                f"ofd: `teacher` names {len(self.teacher_taps)} taps, `teacher_norms` {len(teacher_norms)}",
                remedy="Name one batch normalisation for each tap of the teacher.",
            )
        self.norm_paths = tuple(teacher_norms)
        # A tuple hides the teacher's modules, so that they are neither trained nor saved with the loss.
        self._norms = tuple(context.teacher_module(path) for path in self.norm_paths)
        self.projections = nn.ModuleList()
        for own, taught in zip(self.student_taps, self.teacher_taps, strict=True):
            given = map_channels(context.student_shape(own), own, "ofd")
            wanted = map_channels(context.teacher_shape(taught), taught, "ofd")
            self.projections.append(_projection(given, wanted))

    def forward(self, step: Step) -> Tensor:
        """A scalar."""
        total, pairs = [], self.pairs(step)
        for place, (student, teacher) in enumerate(pairs):
            student, teacher = same_size(student, teacher)
            margin = self._margin(place, teacher)
            loss = ofd_loss(self.projections[place](student), teacher, margin)
            total.append(loss / 2 ** (len(pairs) - 1 - place))
        return torch.stack(total).sum()

    def _margin(self, place: int, teacher: Tensor) -> Tensor:
        """Read in each step, since a plan builds losses with stand-ins for the networks' modules."""
        norm, channels = self._norms[place], teacher.shape[1]
        is_norm = isinstance(norm, nn.BatchNorm2d | nn.SyncBatchNorm)
        if not is_norm or not norm.affine or norm.num_features != channels:
            raise RecipeError(
                f"ofd: the teacher's '{self.norm_paths[place]}' is no batch normalisation of "
                f"{channels} channels with weight and bias, but {norm}",
                remedy=f"Name the one that comes last before '{self.teacher_taps[place]}' in teacher_norms.",
            )
        with torch.no_grad():
            return margins(norm.get_parameter("weight"), norm.get_parameter("bias")).to(teacher)


def _projection(given: int, wanted: int) -> nn.Module:
    convolution = nn.Conv2d(given, wanted, 1, bias=False)
    nn.init.normal_(convolution.weight, 0.0, math.sqrt(2 / wanted))
    return nn.Sequential(convolution, nn.BatchNorm2d(wanted))
