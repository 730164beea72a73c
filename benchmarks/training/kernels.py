"""Convolutions of mobile nets, forward and backward: torch's route and ours (calkd_edge.training.kernels).

Layers as they stand in the CIFAR forms of MobileNetV2 x0.5, MobileNetV3-small, ShuffleNetV1 and V2, 64 images
a step, channels last; then steps of the whole networks. Routes alternate within one process, so that the
machine's drift falls on both. Writes its result beside itself, by the vector instructions that torch uses.

    python benchmarks/training/kernels.py
    ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 python benchmarks/training/kernels.py
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from calkd_edge.models import MODELS
from calkd_edge.training.kernels import quick_convolutions
from calkd_edge.training.memory import keep_freed_memory

IMAGES, ROUNDS, REPEATS = 64, 9, 3
LAYERS = {
    "1x1, 58 to 58 channels, 16x16 (left to torch)": (nn.Conv2d(58, 58, 1, bias=False), 16),
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


NETWORKS = {
    "mobilenet_v2": {"width": 0.5},
    "mobilenet_v3_small": {},
    "shufflenet_v1": {},
    "shufflenet_v2": {},
}


def seconds(work: Callable[[], None]) -> float:
    """Of one turn, over some."""
    begun = time.perf_counter()
    for _ in range(REPEATS):
        work()
    return (time.perf_counter() - begun) / REPEATS


def compared(module: nn.Module, work: Callable[[], None]) -> dict[str, float]:
    """Median milliseconds of both routes, and the median of their ratio round by round."""
    found: dict[str, list[float]] = {"torch": [], "ours": []}
    for turn in range(ROUNDS + 1):
        theirs = seconds(work)
        with quick_convolutions(module):
            own = seconds(work)
        if turn:  # the first warms up
            found["torch"].append(theirs)
            found["ours"].append(own)
    ratios = [theirs / own for theirs, own in zip(found["torch"], found["ours"], strict=True)]
    return {
        **{f"{route}_ms": round(1e3 * statistics.median(each), 3) for route, each in found.items()},
        "times_as_fast": round(statistics.median(ratios), 2),
    }


def of_layer(layer: nn.Conv2d, size: int) -> dict[str, float]:
    """One convolution, forward and backward."""
    layer = layer.train().to(memory_format=torch.channels_last)
    x = torch.randn(IMAGES, layer.in_channels, size, size).to(memory_format=torch.channels_last)
    x.requires_grad_()
    gradient = torch.randn_like(layer(x))

    def work() -> None:
        layer.weight.grad = x.grad = None
        layer(x).backward(gradient)

    return compared(layer, work)


def of_network(name: str, settings: dict[str, Any]) -> dict[str, float]:
    """A step of a whole network."""
    net = MODELS.load(name)(100, (3, 32, 32), **settings).train().to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-4, momentum=0.9)
    images = torch.randn(IMAGES, 3, 32, 32).to(memory_format=torch.channels_last)
    labels = torch.randint(0, 100, (IMAGES,))

    def work() -> None:
        loss = nn.functional.cross_entropy(net(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return compared(net, work)


def main() -> None:
    """Every layer and network, and kernels.json."""
    torch.manual_seed(0)
    keep_freed_memory()
    target = Path(__file__).with_suffix(".json")
    kept = json.loads(target.read_text(encoding="utf-8")) if target.is_file() else {}
    found = {
        "cores": os.cpu_count(),
        "torch": torch.__version__,
        "layers": {name: of_layer(layer, size) for name, (layer, size) in LAYERS.items()},
        "networks": {name: of_network(name, settings) for name, settings in NETWORKS.items()},
    }
    kept[torch.backends.cpu.get_cpu_capability()] = found
    target.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    for name, told in {**found["layers"], **found["networks"]}.items():
        print(f"{name:52} {told}")


if __name__ == "__main__":
    main()
