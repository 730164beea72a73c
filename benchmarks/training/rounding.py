"""A training step that rounds as int8 does, against a plain one: in our modules, and in torchao's PT2E graph.

64 images of 32x32 a step, one thread, forward and backward and SGD; the three take turns in one process.
torchao's graph is prepared with symmetric specifications at the places of our files.

    python benchmarks/training/rounding.py        (needs the extra [peers])
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torchao.quantization.pt2e import (
    FusedMovingAvgObsFakeQuantize,
    MovingAverageMinMaxObserver,
    MovingAveragePerChannelMinMaxObserver,
    allow_exported_model_train_eval,
)
from torchao.quantization.pt2e.quantize_pt2e import prepare_qat_pt2e
from torchao.quantization.pt2e.quantizer import QuantizationAnnotation, QuantizationSpec, Quantizer

from calkd_edge.models import MODELS
from calkd_edge.models.image_model import ImageModel
from calkd_edge.training.fake_int8 import fake_int8, layers_of, norms_of, ranges_of
from calkd_edge.training.kernels import quick_convolutions
from calkd_edge.training.memory import keep_freed_memory

IMAGES, ROUNDS, REPEATS = 64, 9, 3
NETWORKS: dict[str, dict[str, Any]] = {
    "mobilenet_v2": {"width": 0.5},
    "mobilenet_v3_small": {},
    "shufflenet_v2": {"width": 0.5},
}
RESULT = Path(__file__).with_suffix(".json")


class Symmetric(Quantizer):  # type: ignore[misc]  # untyped
    """int8 around 0 at every input of a convolution or product; weights by output channel."""

    def __init__(self) -> None:
        made = FusedMovingAvgObsFakeQuantize.with_args
        self.activation = QuantizationSpec(
            dtype=torch.int8,
            quant_min=-128,
            quant_max=127,
            qscheme=torch.per_tensor_symmetric,
            observer_or_fake_quant_ctr=made(observer=MovingAverageMinMaxObserver, eps=2**-12),
        )
        self.weight = QuantizationSpec(
            dtype=torch.int8,
            quant_min=-127,
            quant_max=127,
            qscheme=torch.per_channel_symmetric,
            ch_axis=0,
            observer_or_fake_quant_ctr=made(observer=MovingAveragePerChannelMinMaxObserver, eps=2**-12),
        )

    def annotate(self, model: Any) -> Any:
        """Mark what is quantized."""
        for node in model.graph.nodes:
            if node.target in (torch.ops.aten.conv2d.default, torch.ops.aten.linear.default):
                inputs = {node.args[0]: self.activation, node.args[1]: self.weight}
                node.meta["quantization_annotation"] = QuantizationAnnotation(inputs, _annotated=True)
        return model

    def validate(self, model: Any) -> None:
        """Nothing more to say."""


def network(name: str) -> ImageModel:
    """In the CIFAR form, channels last."""
    torch.manual_seed(0)
    backbone = MODELS.load(name)(100, (3, 32, 32), **NETWORKS[name])
    return ImageModel(backbone, (0.5,) * 3, (0.25,) * 3).to(memory_format=torch.channels_last)


def step_of(
    net: nn.Module, images: torch.Tensor, *within: Callable[[], AbstractContextManager[Any]]
) -> Callable[[], float]:
    """Seconds of a training step, over some."""
    optimizer = torch.optim.SGD(net.parameters(), 1e-4)

    def timed() -> float:
        with ExitStack() as stack:
            for one in within:
                stack.enter_context(one())
            begun = time.perf_counter()
            for _ in range(REPEATS):
                loss = net(images).square().mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            return (time.perf_counter() - begun) / REPEATS

    return timed


def steps(name: str) -> dict[str, Callable[[], float]]:
    """Each way of taking a step."""
    images = torch.randint(0, 256, (IMAGES, 3, 32, 32), dtype=torch.uint8)
    plain, rounding, other = network(name).train(), network(name), network(name).train()
    layers = layers_of(rounding, images)
    ranges = ranges_of(rounding, layers, lambda: iter([images]), "min_max")
    rounding.train()
    for norm in norms_of(layers):
        norm.eval()
    shape = ({0: torch.export.Dim("batch", min=2, max=4096)},)
    graph = torch.export.export(other, (images,), dynamic_shapes=shape, strict=False).module()
    prepared = prepare_qat_pt2e(graph, Symmetric())
    allow_exported_model_train_eval(prepared)
    prepared.train()

    def quick() -> AbstractContextManager[None]:
        return quick_convolutions(rounding)

    return {
        "plain": step_of(plain, images, lambda: quick_convolutions(plain)),
        "free": step_of(rounding, images, quick, lambda: fake_int8(layers, ranges, "free")),
        "dyadic": step_of(rounding, images, quick, lambda: fake_int8(layers, ranges, "dyadic")),
        "torchao": step_of(prepared, images),
    }


def main() -> None:
    """Medians of each network's ratios to its plain step."""
    torch.set_num_threads(1)
    keep_freed_memory()
    told = {}
    for name in NETWORKS:
        made = steps(name)
        taken: dict[str, list[float]] = {way: [] for way in made}
        for number in range(ROUNDS + 1):
            for way, timed in made.items():
                seconds = timed()
                if number:  # the first one warms up
                    taken[way].append(seconds)
        ratios = {
            way: statistics.median(a / b for a, b in zip(taken[way], taken["plain"], strict=True))
            for way in made
            if way != "plain"
        }
        told[name] = {"plain_ms": 1e3 * statistics.median(taken["plain"]), **ratios}
        print(name, {key: round(value, 2) for key, value in told[name].items()}, flush=True)
    RESULT.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
