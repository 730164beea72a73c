"""MobileNetV1, in the paper's 224-pixel form and in a CIFAR form for small images.

The CIFAR form runs the first strided block at stride 1, so that 32 pixels end as 2x2 instead of 1x1.
Source: Howard et al., "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications",
2017 (arXiv 1704.04861), table 1.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from calkd_edge.models.forms import Form, ImageShape, is_cifar

Width = Annotated[float, Field(gt=0, le=4)]
Dropout = Annotated[float, Field(ge=0, lt=1)]

_STEM = 32
_BLOCKS = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    *((512, 1),) * 5,
    (1024, 2),
    (1024, 1),
)
"""Channels and stride of each pair of a depthwise and a 1x1 convolution."""


class MobileNetV1(nn.Module):
    """A strided stem and thirteen depthwise separable blocks."""

    def __init__(self, num_classes: int, width: float, dropout: float, *, cifar: bool) -> None:
        super().__init__()
        channels = max(1, int(_STEM * width))
        layers = [_convolution(3, channels, 3, 2)]
        strided = next(index for index, (_, stride) in enumerate(_BLOCKS) if stride == 2)
        for index, (full_channels, full_stride) in enumerate(_BLOCKS):
            stride = 1 if cifar and index == strided else full_stride
            channels_out = max(1, int(full_channels * width))
            depthwise = _convolution(channels, channels, 3, stride, groups=channels)
            layers.append(nn.Sequential(depthwise, _convolution(channels, channels_out, 1, 1)))
            channels = channels_out
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(channels, num_classes))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Normalised images [B, 3, H, W] -> logits [B, C]."""
        return self.classifier(self.avgpool(self.features(x)).flatten(1))  # type: ignore[no-any-return]


def _convolution(
    channels_in: int, channels_out: int, kernel: int, stride: int, groups: int = 1
) -> nn.Sequential:
    convolution = nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(channels_out), nn.ReLU(inplace=True))


def mobilenet_v1(
    num_classes: int,
    image_shape: ImageShape,
    *,
    width: Width = 1.0,
    form: Form = "auto",
    dropout: Dropout = 0.0,
) -> nn.Module:
    """MobileNetV1: depthwise separable convolutions.

    Source: Howard et al., "MobileNets", 2017 (arXiv 1704.04861).
    """
    return MobileNetV1(num_classes, width, dropout, cifar=is_cifar(form, image_shape))
