"""Convolutions of mobile nets, forward and backward: torch's route and ours (calkd_edge.training.kernels).

Layers as they stand in the CIFAR forms of MobileNetV2 x0.5, MobileNetV3-small, ShuffleNetV1 and V2, 64 images
a step, channels last. Routes alternate within one process, so that the machine's drift falls on both. Writes
its result beside itself.

    python benchmarks/training/kernels.py
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from pathlib import Path

import torch
from torch import nn

from calkd_edge.training.kernels import quick_convolutions

IMAGES, ROUNDS, REPEATS = 64, 15, 3
LAYERS = {
    "1x1, 24 to 116 channels, 16x16": (nn.Conv2d(24, 116, 1, bias=False), 16),
    "1x1, 58 to 58 channels, 16x16": (nn.Conv2d(58, 58, 1, bias=False), 16),
    "1x1, 96 to 576 channels, 4x4": (nn.Conv2d(96, 576, 1, bias=False), 4),
    "1x1, 80 to 480 channels, 2x2": (nn.Conv2d(80, 480, 1, bias=False), 2),
    "1x1 in 3 groups, 60 to 240 channels, 16x16": (nn.Conv2d(60, 240, 1, groups=3, bias=False), 16),
    "1x1 in 3 groups, 240 to 960 channels, 4x4": (nn.Conv2d(240, 960, 1, groups=3, bias=False), 4),
    "depthwise 5x5, 240 channels, 4x4": (nn.Conv2d(240, 240, 5, 1, 2, groups=240, bias=False), 4),
    "depthwise 3x3, 480 channels, 2x2": (nn.Conv2d(480, 480, 3, 1, 1, groups=480, bias=False), 2),
    "depthwise 3x3, 116 channels, 8x8 (left to torch)": (
        nn.Conv2d(116, 116, 3, 1, 1, groups=116, bias=False),
        8,
    ),
}


def seconds(layer: nn.Conv2d, x: torch.Tensor, gradient: torch.Tensor) -> float:
    """Of some passes, forward and backward."""
    begun = time.perf_counter()
    for _ in range(REPEATS):
        layer.weight.grad = x.grad = None
        layer(x).backward(gradient)
    return (time.perf_counter() - begun) / REPEATS


def compared(layer: nn.Conv2d, size: int) -> dict[str, float]:
    """Median milliseconds of both routes, and the median of their ratio round by round."""
    layer = layer.train().to(memory_format=torch.channels_last)
    x = torch.randn(IMAGES, layer.in_channels, size, size).to(memory_format=torch.channels_last)
    x.requires_grad_()
    gradient = torch.randn_like(layer(x))
    found: dict[str, list[float]] = {"torch": [], "ours": []}
    for turn in range(ROUNDS + 1):
        theirs = seconds(layer, x, gradient)
        with quick_convolutions(layer):
            own = seconds(layer, x, gradient)
        if turn:  # the first warms up
            found["torch"].append(theirs)
            found["ours"].append(own)
    ratios = [theirs / own for theirs, own in zip(found["torch"], found["ours"], strict=True)]
    return {
        **{f"{route}_ms": round(1e3 * statistics.median(each), 3) for route, each in found.items()},
        "times_as_fast": round(statistics.median(ratios), 2),
    }


def main() -> None:
    """Every layer, and kernels.json."""
    torch.manual_seed(0)
    result = {
        "cpu": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "torch": torch.__version__,
        "layers": {name: compared(layer, size) for name, (layer, size) in LAYERS.items()},
    }
    target = Path(__file__).with_suffix(".json")
    target.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for name, told in result["layers"].items():
        print(f"{name:52} {told}")


if __name__ == "__main__":
    main()
