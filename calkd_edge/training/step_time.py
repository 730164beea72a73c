"""The time of a training step on this machine, measured over a few steps."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import closing, nullcontext

import torch
from torch import nn

from calkd_edge.training.batch import Batch
from calkd_edge.training.feed import AHEAD, fed
from calkd_edge.training.fused_batch_norm import fused_batch_norm
from calkd_edge.training.kernels import quick_convolutions

WARM_STEPS, TIMED_STEPS = 1, 3

FED_WARM_STEPS, FED_TIMED_STEPS = AHEAD + 3, 10
"""With batches from a feed: those that are ready in advance say nothing of how fast it is."""

AUTOCAST_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}

FEW_IMAGES, PATIENCE_S = 8, 0.5
"""A step of so many images is timed first; the whole step only if it would not take longer than this."""


def seconds_per_step(
    model: nn.Module,
    image_shape: tuple[int, int, int],
    images_per_step: int,
    device: torch.device,
    *,
    autocast: str | None = None,
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
        scaled = _timed(model, image_shape, few, device, autocast, steps=1) * images_per_step / few
        if scaled > patience_s or few == images_per_step:
            return scaled
        return _timed(model, image_shape, images_per_step, device, autocast, steps=TIMED_STEPS)


def seconds_per_fed_step(
    model: nn.Module, batches: Iterable[Batch], device: torch.device, *, autocast: str | None = None
) -> float:
    """Seconds of a training step that waits for its batch; the steps change the model.

    A step is a forward and a backward pass and a step of the optimizer; losses, a teacher, averaged weights
    and other processes are not in it.

    Args:
        model: uint8 images -> logits.
        batches: at least as many as are timed and before; made, copied and augmented as in a training.
        device: that trains.
        autocast: bf16, fp16 or None.

    Raises:
        ValueError: too few batches.
    """
    model = model.to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]  # torch's stub
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)
    start_time = 0.0
    with closing(fed(batches, device)) as ready:
        for step, batch in enumerate(ready, start=1):
            with _cast(device, autocast):
                logits = model(batch.images)
            optimizer.zero_grad()
            logits.float().square().mean().backward()
            optimizer.step()
            if step == FED_WARM_STEPS:
                start_time = _now(device)
            elif step == FED_WARM_STEPS + FED_TIMED_STEPS:
                return (_now(device) - start_time) / FED_TIMED_STEPS
    raise ValueError(f"{FED_WARM_STEPS + FED_TIMED_STEPS} batches are needed")


def _cast(device: torch.device, autocast: str | None) -> torch.autocast:
    """The forward pass in bf16 or fp16; in float32 for None."""
    return torch.autocast(device.type, dtype=AUTOCAST_TYPES.get(autocast or ""), enabled=autocast is not None)


def _timed(
    model: nn.Module,
    image_shape: tuple[int, int, int],
    images: int,
    device: torch.device,
    autocast: str | None,
    *,
    steps: int,
) -> float:
    """Seconds of a step, the mean of `steps` after a first one that does not count."""
    batch = torch.zeros(images, *image_shape, dtype=torch.uint8, device=device)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)
    start_time = 0.0
    for step in range(WARM_STEPS + steps):
        if step == WARM_STEPS:
            start_time = _now(device)
        optimizer.zero_grad()
        with _cast(device, autocast):  # the forward pass alone, and each with casts of its own
            logits = model(batch)
        logits.float().square().mean().backward()
        optimizer.step()
    return (_now(device) - start_time) / steps


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
