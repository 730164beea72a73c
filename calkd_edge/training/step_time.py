"""The time of a training step on this machine, measured over a few steps."""

from __future__ import annotations

import time
from contextlib import nullcontext

import torch
from torch import nn

from calkd_edge.training.fused_batch_norm import fused_batch_norm
from calkd_edge.training.kernels import quick_convolutions

WARM_STEPS, TIMED_STEPS = 1, 3

FEW_IMAGES, PATIENCE_S = 8, 0.5
"""A step of so many images is timed first; the whole step only if it would not take longer than this."""


def seconds_per_step(
    model: nn.Module,
    image_shape: tuple[int, int, int],
    images_per_step: int,
    device: torch.device,
    *,
    patience_s: float = PATIENCE_S,
) -> float:
    """Seconds of one forward, backward and optimizer step on blank images; the step changes the model.

    Where a whole step takes longer than `patience_s`, its time is that of a few images, in proportion.
    """
    few = min(FEW_IMAGES, images_per_step)
    model = model.to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]  # torch's stub
    is_cpu = device.type == "cpu"
    routes = quick_convolutions(model) if is_cpu else nullcontext()
    with routes, fused_batch_norm(model) if is_cpu else nullcontext():
        scaled = _timed(model, image_shape, few, device, steps=1) * images_per_step / few
        if scaled > patience_s or few == images_per_step:
            return scaled
        return _timed(model, image_shape, images_per_step, device, steps=TIMED_STEPS)


def _timed(
    model: nn.Module, image_shape: tuple[int, int, int], images: int, device: torch.device, *, steps: int
) -> float:
    """Seconds of a step, the mean of `steps` after a first one that does not count."""
    batch = torch.zeros(images, *image_shape, dtype=torch.uint8, device=device)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)
    start_time = 0.0
    for step in range(WARM_STEPS + steps):
        if step == WARM_STEPS:
            start_time = _now(device)
        optimizer.zero_grad()
        model(batch).float().square().mean().backward()
        optimizer.step()
    return (_now(device) - start_time) / steps


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
