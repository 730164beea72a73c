"""VGG networks for CIFAR: five blocks of 3x3 convolutions with batch normalisation, and one linear layer.

Pools halve the maps after blocks 0, 1 and 2; the fourth pool is for images of 64 pixels and more.
Source: Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR
2015 (arXiv 1409.1556), table 1, in the form of the distillation literature (VGG-8 has one convolution per
block). Module names are those of the published CIFAR checkpoints.
"""

from __future__ import annotations

import math
from itertools import pairwise

from torch import Tensor, nn

from calkd_edge.models.forms import SMALL_IMAGE, ImageShape

_CHANNELS = (64, 128, 256, 512, 512)


class CifarVGG(nn.Module):
    """A VGG network; `convolutions` is the number of convolutions in each of the five blocks."""

    def __init__(self, num_classes: int, convolutions: tuple[int, ...], *, pools: int) -> None:
        super().__init__()
        before = (3, *_CHANNELS[:-1])
        blocks = [
            _block(channels_in, channels_out, count)
            for channels_in, channels_out, count in zip(before, _CHANNELS, convolutions, strict=True)
        ]
        self.block0, self.block1, self.block2, self.block3, self.block4 = blocks
        self.relu = nn.ReLU()
        self.pool = nn.MaxPool2d(2, 2)
        self.pools = pools
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(_CHANNELS[-1], num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                spread = math.sqrt(2 / (module.kernel_size[0] * module.kernel_size[1] * module.out_channels))
                nn.init.normal_(module.weight, 0, spread)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]  # every one has a bias
        nn.init.normal_(self.classifier.weight, 0, 0.01)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Normalised images [B, 3, H, W] -> logits [B, C]."""
        for index, block in enumerate((self.block0, self.block1, self.block2, self.block3, self.block4)):
            x = self.relu(block(x))
            if index < self.pools:
                x = self.pool(x)
        return self.classifier(self.avgpool(x).flatten(1))  # type: ignore[no-any-return]


def _block(channels_in: int, channels_out: int, count: int) -> nn.Sequential:
    """Convolutions and normalisations with ReLUs between them; the network applies the last ReLU."""
    layers: list[nn.Module] = []
    for source, target in pairwise([channels_in, *(channels_out,) * count]):
        layers += [nn.ReLU()] if layers else []
        layers += [nn.Conv2d(source, target, 3, 1, 1), nn.BatchNorm2d(target)]
    return nn.Sequential(*layers)


def _vgg(num_classes: int, image_shape: ImageShape, convolutions: tuple[int, ...]) -> nn.Module:
    pools = 4 if min(image_shape[1:]) >= SMALL_IMAGE else 3
    return CifarVGG(num_classes, convolutions, pools=pools)


def vgg8(num_classes: int, image_shape: ImageShape) -> nn.Module:
    """CIFAR VGG-8, 3.9 M parameters.

    Source: Simonyan and Zisserman, "Very Deep Convolutional Networks", ICLR 2015 (arXiv 1409.1556).
    """
    return _vgg(num_classes, image_shape, (1, 1, 1, 1, 1))


def vgg11(num_classes: int, image_shape: ImageShape) -> nn.Module:
    """CIFAR VGG-11, 9.2 M parameters.

    Source: Simonyan and Zisserman, "Very Deep Convolutional Networks", ICLR 2015 (arXiv 1409.1556).
    """
    return _vgg(num_classes, image_shape, (1, 1, 2, 2, 2))


def vgg13(num_classes: int, image_shape: ImageShape) -> nn.Module:
    """CIFAR VGG-13, 9.4 M parameters.

    Source: Simonyan and Zisserman, "Very Deep Convolutional Networks", ICLR 2015 (arXiv 1409.1556).
    """
    return _vgg(num_classes, image_shape, (2, 2, 2, 2, 2))


def vgg16(num_classes: int, image_shape: ImageShape) -> nn.Module:
    """CIFAR VGG-16, 14.7 M parameters.

    Source: Simonyan and Zisserman, "Very Deep Convolutional Networks", ICLR 2015 (arXiv 1409.1556).
    """
    return _vgg(num_classes, image_shape, (2, 2, 3, 3, 3))


def vgg19(num_classes: int, image_shape: ImageShape) -> nn.Module:
    """CIFAR VGG-19, 20.0 M parameters.

    Source: Simonyan and Zisserman, "Very Deep Convolutional Networks", ICLR 2015 (arXiv 1409.1556).
    """
    return _vgg(num_classes, image_shape, (2, 2, 4, 4, 4))
