"""Sections B2 to B4: what the parts of a step take, the teacher's pass, and the estimate before a run."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from speed import RATE, Clock, distillation_loss, ours
from student import Enough
from world import SEED, World, augmentation

from calkd_edge.recipe.training import OptimizerSection, TrainingSection
from calkd_edge.stages.epochs import augmentation_of
from calkd_edge.stages.frozen_teacher import frozen_teacher
from calkd_edge.stages.soft_labels import TeacherPass
from calkd_edge.stages.trial_batches import trial_batches
from calkd_edge.training.averaging import WeightAverage
from calkd_edge.training.step_time import seconds_per_fed_step, seconds_per_step


def timed(world: World, work: Callable[[], object], *, repeats: int = 10) -> float:
    """Milliseconds of one call, the median; the GPU is waited for."""
    work()
    marks = []
    for _ in range(repeats if world.on_gpu else 3):
        world.synchronize()
        begun = time.perf_counter()
        work()
        world.synchronize()
        marks.append(1000 * (time.perf_counter() - begun))
    return float(np.median(marks))


def parts(world: World) -> dict[str, Any]:
    """B2: milliseconds of each part, for each network."""
    return {"passed": None, **{name: _parts(world, name) for name in world.size.networks}}


def _parts(world: World, network: str) -> dict[str, float]:
    side, size = world.size.sides[network], world.size.images_per_step
    prepared = world.prepared(side)
    replayed = augmentation_of(augmentation(side), prepared)
    rows = np.random.default_rng(SEED).permutation(len(prepared.labels))[:size]
    view = replayed.draw(len(rows), np.random.default_rng(SEED))
    batch = torch.from_numpy(prepared.images[rows])
    result = {
        "gather": timed(world, lambda: prepared.images[rows]),
        "augment_cpu": timed(world, lambda: replayed.replay(batch, view)),
        "augment_on_device": timed(world, lambda: replayed.replay(batch.to(world.device), view)),
        "copy_pageable": timed(world, lambda: batch.to(world.device)),
    }
    if world.on_gpu:
        pinned = batch.pin_memory()
        result["copy_pinned"] = timed(world, lambda: pinned.to(world.device, non_blocking=True))
    labels = torch.zeros(size, dtype=torch.int64, device=world.device)
    soft = torch.randn(size, world.size.classes, device=world.device)
    images = batch.to(world.device)
    for layout in (torch.contiguous_format, torch.channels_last):
        for number_format in ("fp32", "tf32", "bf16") if world.on_gpu else ("fp32",):
            key = f"{'NHWC' if layout is torch.channels_last else 'NCHW'} {number_format}"
            result |= _step_parts(world, network, layout, number_format, key, images, labels, soft)
    model = world.student(network).to(world.device)
    average = WeightAverage(model, 0.999)
    result["average"] = timed(world, average.update)
    path = world.folder / "trial.ckpt"
    result["checkpoint"] = timed(world, lambda: torch.save(model.state_dict(), path))
    return result


def _step_parts(
    world: World,
    network: str,
    layout: torch.memory_format,
    number_format: str,
    key: str,
    images: torch.Tensor,
    labels: torch.Tensor,
    soft: torch.Tensor,
) -> dict[str, float]:
    """Forward and backward pass and the optimizer in a layout and a number format."""
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = number_format == "tf32"
    model = world.student(network).to(world.device, memory_format=layout).train()
    optimizer = torch.optim.SGD(model.parameters(), **RATE)

    def forward() -> torch.Tensor:
        with torch.autocast(world.device.type, dtype=torch.bfloat16, enabled=number_format == "bf16"):
            logits = model(images)
        return distillation_loss(logits.float(), soft, labels)

    def both() -> None:
        optimizer.zero_grad()
        forward().backward()

    one, two = timed(world, forward), timed(world, both)
    return {
        f"{key} forward": one,
        f"{key} backward": two - one,
        f"{key} optimizer": timed(world, optimizer.step),
    }


def teacher_pass(world: World) -> dict[str, Any]:
    """B3: images per second of the teacher's pass of the stage soft_labels, at 256 images."""
    result = {}
    for side in sorted(set(world.size.sides.values())):
        prepared = world.prepared(side)
        replayed = augmentation_of(augmentation(side), prepared)
        rows = prepared.indices("train")
        model = frozen_teacher(world.teacher_folder(side), world.device)
        teacher = TeacherPass(model, world.device, prepared, replayed)
        view = replayed.draw(len(rows), np.random.default_rng(SEED))
        size = min(256, len(rows))
        ms = timed(world, lambda t=teacher, r=rows, s=size, v=view: t.logits(r, slice(0, s), v), repeats=5)
        result[str(side)] = 1000 * size / ms
    return {"passed": None, "images_per_s": result}


def estimate(world: World) -> dict[str, Any]:
    """B4: the time that a run announces for a step, and the time that it takes."""
    side, size = world.size.sides["N1"], world.size.images_per_step
    shape = (3, side, side)
    if world.on_gpu:
        section = TrainingSection(epochs=1, images_per_step=size, optimizer=OptimizerSection(**RATE))
        batches = trial_batches(section, augmentation(side), shape, world.size.images, world.device)
        said = seconds_per_fed_step(world.student("N1"), batches, world.device)
    else:
        said = seconds_per_step(world.student("N1"), shape, size, world.device)
    clock = Clock(world)
    with suppress(Enough):
        ours(world, "N1", clock, live=False)
    return {"passed": None, "announced_ms": 1000 * said, "measured_ms": 1000 * clock.seconds}


SECTIONS = {"B2": parts, "B3": teacher_pass, "B4": estimate}
