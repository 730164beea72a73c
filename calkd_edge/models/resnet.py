"""CIFAR residual nets of 6n+2 layers: three groups of basic blocks at 32, 16 and 8 pixels.

Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, section 4.2 (arXiv 1512.03385),
with 1x1 convolutions on the shortcuts that change shape (their option B); resnet8x4 and resnet32x4 are four
times as wide with a stem twice as wide, as in the distillation literature. Module names are those of the
published CIFAR checkpoints.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from calkd_edge.models.forms import ImageShape

Width = Annotated[float, Field(gt=0, le=8)]


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module | None = None
        if stride != 1 or channels_in != channels:
            shortcut = nn.Conv2d(channels_in, channels, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels_in, H, W] -> [B, channels, H / stride, W / stride]."""
        shortcut = x if self.downsample is None else self.downsample(x)
        inner = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(inner)) + shortcut)  # type: ignore[no-any-return]


class CifarResNet(nn.Module):
    """6n+2 layers; `channels` are those of the stem and of the three groups."""

    def __init__(self, num_classes: int, depth: int, channels: tuple[int, int, int, int]) -> None:
        super().__init__()
        blocks = (depth - 2) // 6
        self.conv1 = nn.Conv2d(3, channels[0], 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels[0])
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = _group(channels[0], channels[1], blocks, 1)
        self.layer2 = _group(channels[1], channels[2], blocks, 2)
        self.layer3 = _group(channels[2], channels[3], blocks, 2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels[3], num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Normalised images [B, 3, H, W] -> logits [B, C]."""
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(self.avgpool(x).flatten(1))  # type: ignore[no-any-return]


def _group(channels_in: int, channels: int, blocks: int, stride: int) -> nn.Sequential:
    first = BasicBlock(channels_in, channels, stride)
    return nn.Sequential(first, *(BasicBlock(channels, channels, 1) for _ in range(blocks - 1)))


def _plain(num_classes: int, depth: int, width: float) -> nn.Module:
    """With the paper's 16, 16, 32 and 64 channels, times `width`."""
    stem, first, second, third = (max(1, round(base * width)) for base in (16, 16, 32, 64))
    return CifarResNet(num_classes, depth, (stem, first, second, third))


def resnet8(num_classes: int, image_shape: ImageShape, *, width: Width = 1.0) -> nn.Module:
    """CIFAR ResNet-8, 0.08 M parameters at width 1.

    Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016 (arXiv 1512.03385).
    """
    return _plain(num_classes, 8, width)


def resnet14(num_classes: int, image_shape: ImageShape, *, width: Width = 1.0) -> nn.Module:
    """CIFAR ResNet-14, 0.18 M parameters at width 1.

    Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016 (arXiv 1512.03385).
    """
    return _plain(num_classes, 14, width)


def resnet20(num_classes: int, image_shape: ImageShape, *, width: Width = 1.0) -> nn.Module:
    """CIFAR ResNet-20, 0.27 M parameters at width 1.

    Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016 (arXiv 1512.03385).
    """
    return _plain(num_classes, 20, width)


def resnet32(num_classes: int, image_shape: ImageShape, *, width: Width = 1.0) -> nn.Module:
    """CIFAR ResNet-32, 0.47 M parameters at width 1.

    Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016 (arXiv 1512.03385).
    """
    return _plain(num_classes, 32, width)


def resnet44(num_classes: int, image_shape: ImageShape, *, width: Width = 1.0) -> nn.Module:
    """CIFAR ResNet-44, 0.66 M parameters at width 1.

    Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016 (arXiv 1512.03385).
    """
    return _plain(num_classes, 44, width)


def resnet56(num_classes: int, image_shape: ImageShape, *, width: Width = 1.0) -> nn.Module:
    """CIFAR ResNet-56, 0.86 M parameters at width 1.

    Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016 (arXiv 1512.03385).
    """
    return _plain(num_classes, 56, width)


def resnet110(num_classes: int, image_shape: ImageShape, *, width: Width = 1.0) -> nn.Module:
    """CIFAR ResNet-110, 1.7 M parameters at width 1.

    Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016 (arXiv 1512.03385).
    """
    return _plain(num_classes, 110, width)


def resnet8x4(num_classes: int, image_shape: ImageShape) -> nn.Module:
    """CIFAR ResNet-8x4, 1.2 M parameters.

    Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016 (arXiv 1512.03385).
    """
    return CifarResNet(num_classes, 8, (32, 64, 128, 256))


def resnet32x4(num_classes: int, image_shape: ImageShape) -> nn.Module:
    """CIFAR ResNet-32x4, 7.4 M parameters.

    Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016 (arXiv 1512.03385).
    """
    return CifarResNet(num_classes, 32, (32, 64, 128, 256))
