"""The time of a training step on this machine, measured over a few steps."""

from __future__ import annotations

import time

import torch
from torch import nn

from calkd_edge.training.kernels import quick_convolutions

WARM_STEPS, TIMED_STEPS = 1, 3


def seconds_per_step(
    model: nn.Module, image_shape: tuple[int, int, int], images_per_step: int, device: torch.device
) -> float:
    """Seconds of one forward, backward and optimizer step on blank images; the step changes the model."""
    model = model.to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]  # torch's stub
    images = torch.zeros(images_per_step, *image_shape, dtype=torch.uint8, device=device)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)
    start_time = 0.0
    with quick_convolutions(model):
        for step in range(WARM_STEPS + TIMED_STEPS):
            if step == WARM_STEPS:
                start_time = _now(device)
            optimizer.zero_grad()
            model(images).float().square().mean().backward()
            optimizer.step()
    return (_now(device) - start_time) / TIMED_STEPS


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
