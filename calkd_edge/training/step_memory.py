"""The memory that a training step needs, computed from the shapes of a network's layers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from calkd_edge.files.available_memory import available_bytes

COPIES_OF_WEIGHTS = 3
"""The weights, their gradients and the optimizer's momentum."""

CERTAIN_SHARE = 0.75
"""Of the computed memory: seven networks on a CPU took 0.95 to 1.22 of it (benchmarks/training)."""


def training_bytes(model: nn.Module, image_shape: tuple[int, int, int], images_per_step: int) -> int:
    """Bytes of a training step: weights, gradients, momentum, and what each layer puts out.

    Args:
        model: on the device "meta", where nothing is computed.
        image_shape: (3, H, W).
        images_per_step: images of a step.
    """
    counted = 0

    def count(module: nn.Module, inputs: object, output: object) -> None:
        nonlocal counted
        if isinstance(output, Tensor):
            counted += output.numel() * output.element_size()

    layers = [module for module in model.modules() if not list(module.children())]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    two = torch.zeros(2, *image_shape, dtype=torch.uint8, device="meta")  # batch normalisation needs two
    with torch.device("meta"):
        model.train()(two)
    for hook in hooks:
        hook.remove()
    weights = sum(weight.numel() * weight.element_size() for weight in model.parameters())
    return COPIES_OF_WEIGHTS * weights + counted // 2 * images_per_step


def free_bytes(accelerator: str) -> int:
    """Bytes of memory that are free where a training runs: cpu or cuda."""
    return torch.cuda.mem_get_info()[0] if accelerator == "cuda" else available_bytes()
