"""Wide residual networks for CIFAR: pre-activation blocks in three groups, 6n+4 layers.

Source: Zagoruyko and Komodakis, "Wide Residual Networks", BMVC 2016 (arXiv 1605.07146), table 1. Module
names are those of the published CIFAR checkpoints.
"""

from __future__ import annotations

from torch import Tensor, nn

from calkd_edge.models.forms import ImageShape


class PreActivationBlock(nn.Module):
    """Two 3x3 convolutions, each after a normalisation and a ReLU, and a shortcut."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels_in)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu2 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.convShortcut: nn.Module | None = None
        if channels_in != channels:
            self.convShortcut = nn.Conv2d(channels_in, channels, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels_in, H, W] -> [B, channels, H / stride, W / stride], before any activation."""
        active = self.relu1(self.bn1(x))
        shortcut = x if self.convShortcut is None else self.convShortcut(active)
        return self.conv2(self.relu2(self.bn2(self.conv1(active)))) + shortcut  # type: ignore[no-any-return]


class Group(nn.Module):
    """Blocks of one size."""

    def __init__(self, channels_in: int, channels: int, blocks: int, stride: int) -> None:
        super().__init__()
        first = PreActivationBlock(channels_in, channels, stride)
        rest = (PreActivationBlock(channels, channels, 1) for _ in range(blocks - 1))
        self.layer = nn.Sequential(first, *rest)

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels_in, H, W] -> [B, channels, H / stride, W / stride]."""
        return self.layer(x)  # type: ignore[no-any-return]


class WideResNet(nn.Module):
    """depth = 6n+4 layers, k times as wide as a CIFAR residual network."""

    def __init__(self, num_classes: int, depth: int, k: int) -> None:
        super().__init__()
        blocks = (depth - 4) // 6
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.block1 = Group(16, 16 * k, blocks, 1)
        self.block2 = Group(16 * k, 32 * k, blocks, 2)
        self.block3 = Group(32 * k, 64 * k, blocks, 2)
        self.bn1 = nn.BatchNorm2d(64 * k)
        self.relu = nn.ReLU(inplace=True)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(64 * k, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(self.fc.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Normalised images [B, 3, H, W] -> logits [B, C]."""
        x = self.block3(self.block2(self.block1(self.conv1(x))))
        return self.fc(self.avgpool(self.relu(self.bn1(x))).flatten(1))  # type: ignore[no-any-return]


def wrn_16_1(num_classes: int, image_shape: ImageShape) -> nn.Module:
    """Wide residual network WRN-16-1, 0.18 M parameters.

    Source: Zagoruyko and Komodakis, "Wide Residual Networks", BMVC 2016 (arXiv 1605.07146).
    """
    return WideResNet(num_classes, 16, 1)


def wrn_16_2(num_classes: int, image_shape: ImageShape) -> nn.Module:
    """Wide residual network WRN-16-2, 0.70 M parameters.

    Source: Zagoruyko and Komodakis, "Wide Residual Networks", BMVC 2016 (arXiv 1605.07146).
    """
    return WideResNet(num_classes, 16, 2)


def wrn_40_1(num_classes: int, image_shape: ImageShape) -> nn.Module:
    """Wide residual network WRN-40-1, 0.57 M parameters.

    Source: Zagoruyko and Komodakis, "Wide Residual Networks", BMVC 2016 (arXiv 1605.07146).
    """
    return WideResNet(num_classes, 40, 1)


def wrn_40_2(num_classes: int, image_shape: ImageShape) -> nn.Module:
    """Wide residual network WRN-40-2, 2.2 M parameters.

    Source: Zagoruyko and Komodakis, "Wide Residual Networks", BMVC 2016 (arXiv 1605.07146).
    """
    return WideResNet(num_classes, 40, 2)
