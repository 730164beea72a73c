"""ResNet-50 for CIFAR: bottleneck blocks after a 3x3 stem of stride 1.

Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016 (arXiv 1512.03385), table 1, with
the stride in the 3x3 convolution and no max pooling. Module names are those of the published CIFAR
checkpoints.
"""

from __future__ import annotations

from torch import Tensor, nn

from calkd_edge.models.forms import ImageShape

_EXPANSION = 4


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions and a shortcut."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        channels_out = channels * _EXPANSION
        self.conv1 = nn.Conv2d(channels_in, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, channels_out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels_out)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut = nn.Sequential()
        if stride != 1 or channels_in != channels_out:
            convolution = nn.Conv2d(channels_in, channels_out, 1, stride, bias=False)
            self.shortcut = nn.Sequential(convolution, nn.BatchNorm2d(channels_out))

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels_in, H, W] -> [B, 4 channels, H / stride, W / stride]."""
        shortcut = self.shortcut(x)
        inner = self.relu(self.bn1(self.conv1(x)))
        inner = self.bn3(self.conv3(self.relu(self.bn2(self.conv2(inner)))))
        return self.relu(inner + shortcut)  # type: ignore[no-any-return]


class BottleneckResNet(nn.Module):
    """Four groups of bottlenecks."""

    def __init__(self, num_classes: int, blocks: tuple[int, int, int, int]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        groups, channels_in = [], 64
        for index, count in enumerate(blocks):
            channels = 64 * 2**index
            first = Bottleneck(channels_in, channels, 1 if index == 0 else 2)
            channels_in = channels * _EXPANSION
            groups.append(
                nn.Sequential(first, *(Bottleneck(channels_in, channels, 1) for _ in range(count - 1)))
            )
        self.layer1, self.layer2, self.layer3, self.layer4 = groups
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.linear = nn.Linear(channels_in, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Normalised images [B, 3, H, W] -> logits [B, C]."""
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.linear(self.avgpool(x).flatten(1))  # type: ignore[no-any-return]


def resnet50(num_classes: int, image_shape: ImageShape) -> nn.Module:
    """CIFAR ResNet-50, 23.7 M parameters; for 224 pixels use torchvision's.

    Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016 (arXiv 1512.03385).
    """
    return BottleneckResNet(num_classes, (3, 4, 6, 3))
