"""ShuffleNetV1 with three groups, in the paper's 224-pixel form and in the CIFAR form.

The CIFAR form is the student of the distillation literature: a 1x1 stem of stride 1 and no max pooling, so
that 32 pixels end as 4x4; bottlenecks a quarter as wide as the channels that their unit adds, not as its
output; and a ReLU after the depthwise convolution.
Source: Zhang et al., "ShuffleNet: An Extremely Efficient Convolutional Neural Network for Mobile Devices",
CVPR 2018 (arXiv 1707.01083), table 1; the CIFAR form as RepDistiller and mdistiller publish it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from calkd_edge.models.forms import Form, ImageShape, is_cifar
from calkd_edge.models.shuffling import channel_shuffle

_GROUPS = 3
_STEM = 24
_STAGES = ((240, 4), (480, 8), (960, 4))
"""Channels and units of stages 2, 3 and 4 at three groups."""


class Unit(nn.Module):
    """Grouped 1x1, shuffle, depthwise 3x3, grouped 1x1; added to its input, or beside it at stride 2."""

    def __init__(self, channels_in: int, channels: int, stride: int, *, cifar: bool) -> None:
        super().__init__()
        added = channels - channels_in if stride == 2 else channels
        middle = (added if cifar else channels) // 4
        self.first_groups = 1 if channels_in == _STEM else _GROUPS  # the stem has too few channels
        self.conv1 = nn.Conv2d(channels_in, middle, 1, groups=self.first_groups, bias=False)
        self.bn1 = nn.BatchNorm2d(middle)
        self.conv2 = nn.Conv2d(middle, middle, 3, stride, 1, groups=middle, bias=False)
        self.bn2 = nn.BatchNorm2d(middle)
        self.conv3 = nn.Conv2d(middle, added, 1, groups=_GROUPS, bias=False)
        self.bn3 = nn.BatchNorm2d(added)
        self.relu = nn.ReLU(inplace=True)
        self.after_depthwise = nn.ReLU(inplace=True) if cifar else nn.Identity()
        self.shortcut = nn.AvgPool2d(3, 2, 1) if stride == 2 else nn.Identity()
        self.is_joined = stride == 2

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels_in, H, W] -> [B, channels, H / stride, W / stride]."""
        inner = self.relu(self.bn1(self.conv1(x)))
        if self.first_groups > 1:
            inner = channel_shuffle(inner, self.first_groups)
        inner = self.after_depthwise(self.bn2(self.conv2(inner)))
        inner, shortcut = self.bn3(self.conv3(inner)), self.shortcut(x)
        joined = torch.cat([inner, shortcut], dim=1) if self.is_joined else inner + shortcut
        return self.relu(joined)  # type: ignore[no-any-return]


class ShuffleNetV1(nn.Module):
    """Three stages of units at three groups."""

    def __init__(self, num_classes: int, *, cifar: bool) -> None:
        super().__init__()
        stem = nn.Conv2d(3, _STEM, 1, bias=False) if cifar else nn.Conv2d(3, _STEM, 3, 2, 1, bias=False)
        self.conv1, self.bn1, self.relu = stem, nn.BatchNorm2d(_STEM), nn.ReLU(inplace=True)
        self.maxpool = nn.Identity() if cifar else nn.MaxPool2d(3, 2, 1)
        groups, channels_in = [], _STEM
        for channels, units in _STAGES:
            first = Unit(channels_in, channels, 2, cifar=cifar)
            rest = (Unit(channels, channels, 1, cifar=cifar) for _ in range(units - 1))
            groups.append(nn.Sequential(first, *rest))
            channels_in = channels
        self.layer1, self.layer2, self.layer3 = groups
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels_in, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Normalised images [B, 3, H, W] -> logits [B, C]."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(self.avgpool(x).flatten(1))  # type: ignore[no-any-return]


def shufflenet_v1(num_classes: int, image_shape: ImageShape, *, form: Form = "auto") -> nn.Module:
    """ShuffleNetV1 at three groups and width 1: grouped 1x1 convolutions and channel shuffle.

    Source: Zhang et al., "ShuffleNet", CVPR 2018 (arXiv 1707.01083).
    """
    return ShuffleNetV1(num_classes, cifar=is_cifar(form, image_shape))
