"""ShuffleNetV2, in torchvision's 224-pixel form and in the CIFAR form.

The CIFAR form has a 1x1 stem of stride 1 and no max pooling, so that 32 pixels end as 4x4.
Source: Ma et al., "ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture Design", ECCV 2018
(arXiv 1807.11164), table 5.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn
from torchvision.models import ShuffleNetV2
from torchvision.models.shufflenetv2 import InvertedResidual

from calkd_edge.models.forms import Form, ImageShape, is_cifar
from calkd_edge.models.shuffling import Interleaving

_CHANNELS = {
    0.5: [24, 48, 96, 192, 1024],
    1.0: [24, 116, 232, 464, 1024],
    1.5: [24, 176, 352, 704, 1024],
    2.0: [24, 244, 488, 976, 2048],
}


class Unit(InvertedResidual):  # type: ignore[misc]  # torchvision has no stubs
    """torchvision's unit; in training its concatenation and shuffle are one step."""

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C', H / stride, W / stride]."""
        if not self.training:  # an exported file keeps the form that runtimes know
            return super().forward(x)  # type: ignore[no-any-return]
        kept, changed = x.chunk(2, dim=1) if self.stride == 1 else (self.branch1(x), x)
        return Interleaving.apply(kept, self.branch2(changed))  # type: ignore[no-any-return]  # torch's stub


def shufflenet_v2(
    num_classes: int,
    image_shape: ImageShape,
    *,
    width: Annotated[float, Field(ge=0.5, le=2, multiple_of=0.5)] = 1.0,
    form: Form = "auto",
) -> nn.Module:
    """ShuffleNetV2: channel split and shuffle, with the four widths of the paper.

    Source: Ma et al., "ShuffleNet V2", ECCV 2018 (arXiv 1807.11164).
    """
    channels = _CHANNELS[round(2 * width) / 2]
    net: nn.Module = ShuffleNetV2([4, 8, 4], channels, num_classes, inverted_residual=Unit)
    if is_cifar(form, image_shape):
        net.conv1 = nn.Sequential(
            nn.Conv2d(3, channels[0], 1, bias=False),
            nn.BatchNorm2d(channels[0]),
            nn.ReLU(inplace=True),
        )
        net.maxpool = nn.Identity()
    return net
