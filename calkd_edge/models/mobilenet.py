"""MobileNetV2 and V3, in torchvision's 224-pixel form and in a CIFAR form for small images.

The CIFAR form runs the first strided group of blocks at stride 1, so that 32 pixels end as 2x2 instead of
1x1. With `width: 0.5` and `divisor: 1` it is the student that the distillation literature calls MobileNetV2
on CIFAR-100, except for 288 parameters and the activation: the published code also expands in the first
block, unlike the paper, and uses ReLU instead of the paper's ReLU6.
Sources: Sandler et al., "MobileNetV2", CVPR 2018 (arXiv 1801.04381); Howard et al., "Searching for
MobileNetV3", ICCV 2019 (arXiv 1905.02244).
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import nn
from torchvision.models import MobileNetV2, MobileNetV3
from torchvision.models.mobilenetv3 import _mobilenet_v3_conf

from calkd_edge.models.forms import Form, ImageShape, is_cifar

Width = Annotated[float, Field(gt=0, le=4)]
Dropout = Annotated[float, Field(ge=0, lt=1)]

# (expansion, channels, blocks, stride) of each group of inverted residuals, table 2 of the V2 paper.
_V2_GROUPS = [
    [1, 16, 1, 1],
    [6, 24, 2, 2],
    [6, 32, 3, 2],
    [6, 64, 4, 2],
    [6, 96, 3, 1],
    [6, 160, 3, 2],
    [6, 320, 1, 1],
]


def mobilenet_v2(
    num_classes: int,
    image_shape: ImageShape,
    *,
    width: Width = 1.0,
    form: Form = "auto",
    dropout: Dropout = 0.0,
    divisor: Annotated[int, Field(ge=1, le=64)] = 8,
) -> nn.Module:
    """MobileNetV2: inverted residuals with linear bottlenecks and ReLU6.

    Args:
        num_classes: C.
        image_shape: (3, H, W).
        width: multiplies every number of channels.
        form: cifar or imagenet; auto depends on the image size.
        dropout: before the classifier.
        divisor: numbers of channels are rounded to multiples of this.

    Source: Sandler et al., "MobileNetV2", CVPR 2018 (arXiv 1801.04381).
    """
    groups = [list(group) for group in _V2_GROUPS]
    if is_cifar(form, image_shape):
        groups[1][3] = 1
    return MobileNetV2(num_classes, width, groups, round_nearest=divisor, dropout=dropout)  # type: ignore[no-any-return]


def mobilenet_v3_small(
    num_classes: int,
    image_shape: ImageShape,
    *,
    width: Width = 1.0,
    form: Form = "auto",
    dropout: Dropout = 0.0,
) -> nn.Module:
    """MobileNetV3-small: squeeze-and-excitation and hard swish.

    Source: Howard et al., "Searching for MobileNetV3", ICCV 2019 (arXiv 1905.02244).
    """
    return _v3("mobilenet_v3_small", num_classes, image_shape, width, form, dropout)


def mobilenet_v3_large(
    num_classes: int,
    image_shape: ImageShape,
    *,
    width: Width = 1.0,
    form: Form = "auto",
    dropout: Dropout = 0.0,
) -> nn.Module:
    """MobileNetV3-large: squeeze-and-excitation and hard swish.

    Source: Howard et al., "Searching for MobileNetV3", ICCV 2019 (arXiv 1905.02244).
    """
    return _v3("mobilenet_v3_large", num_classes, image_shape, width, form, dropout)


def _v3(
    name: str, num_classes: int, image_shape: ImageShape, width: float, form: Form, dropout: float
) -> nn.Module:
    blocks, last_channel = _mobilenet_v3_conf(name, width_mult=width)
    if is_cifar(form, image_shape):
        next(block for block in blocks if block.stride == 2).stride = 1
    return MobileNetV3(blocks, last_channel, num_classes, dropout=dropout)  # type: ignore[no-any-return]
