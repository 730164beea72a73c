"""Section B1: images per second of our loop, of others, and of the least that a step can take.

ours        the project's `fit`, with stored soft labels or with the teacher in every step
plain       torch's parts: labels on the device, images copied from pageable memory
mdistiller  as mdistiller trains: PIL transforms in loader processes, a live teacher, loss and accuracy read
            in every step (the steps of its engine/trainer.py, MIT licence, not its code)
ceiling     data on the GPU, channels last, bf16, one CUDA graph of the step; on a CPU the same without graph
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from student import Enough, train
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from world import World, augmentation

from calkd_edge.stages.epochs import augmentation_of
from calkd_edge.stages.frozen_teacher import frozen_teacher

RATE = {"lr": 0.01, "momentum": 0.9}


class Clock:
    """Seconds of each step after the warm-up; as a progress it ends the training."""

    def __init__(self, world: World) -> None:
        self.world, self.marks = world, []
        self.warm, self.timed = world.size.warm_steps, world.size.timed_steps

    def __call__(self, *_: object) -> None:
        """A step has been launched; the GPU is waited for at both ends of the window only."""
        done = len(self.marks) + 1
        if done in (self.warm, self.warm + self.timed):
            self.world.synchronize()
        self.marks.append(time.perf_counter())
        if done == self.warm + self.timed:
            raise Enough

    @property
    def seconds(self) -> float:
        """Mean of a step."""
        return (self.marks[-1] - self.marks[self.warm - 1]) / self.timed

    @property
    def steps(self) -> list[float]:
        """Host seconds of each step."""
        return np.diff(self.marks[self.warm - 1 :]).tolist()


def distillation_loss(logits: Tensor, soft: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy and KD at temperature 4, as the recipes weigh them."""
    divergence = F.kl_div((logits / 4).log_softmax(1), (soft / 4).softmax(1), reduction="batchmean")
    return 0.1 * F.cross_entropy(logits, labels) + 0.9 * 16 * divergence


def ours(world: World, network: str, clock: Clock, *, live: bool) -> None:
    """Our loop."""
    train(world, network, live=live, name=f"speed-{network}", progress=clock, endless=True)


def plain(world: World, network: str, clock: Clock) -> None:
    """Torch's parts around our augmentation on the CPU."""
    side = world.size.sides[network]
    prepared, model = world.prepared(side), world.student(network).to(world.device).train()
    images, labels = torch.from_numpy(np.asarray(prepared.images)), torch.from_numpy(prepared.labels)
    soft = torch.randn(len(images), world.size.classes, device=world.device)
    on_device = labels.to(world.device)
    replayed, generator = augmentation_of(augmentation(side), prepared), np.random.default_rng(1)
    optimizer = torch.optim.SGD(model.parameters(), **RATE)
    for rows in _orders(len(images), world.size.images_per_step):
        view = replayed.draw(len(rows), generator)
        batch = replayed.replay(images[rows], view).to(world.device)
        chosen = rows.to(world.device)
        loss = distillation_loss(model(batch), soft[chosen], on_device[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        clock()


def _orders(count: int, size: int) -> Iterator[Tensor]:
    """Full batches of random rows, for ever."""
    while True:
        yield from (piece for piece in torch.randperm(count).split(size) if len(piece) == min(size, count))


class Pictures(Dataset):
    """Images as torchvision's data sets give them: transformed one by one, through PIL."""

    def __init__(self, world: World, side: int) -> None:
        prepared = world.prepared(side)
        self.pixels = np.asarray(prepared.images).transpose(0, 2, 3, 1)
        self.labels = prepared.labels.tolist()
        crop = transforms.RandomCrop(side, padding=4) if side < 64 else transforms.RandomResizedCrop(side)
        self.transform = transforms.Compose(
            [
                transforms.ToPILImage(),
                crop,
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize((0.5,) * 3, (0.25,) * 3),
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        return self.transform(np.ascontiguousarray(self.pixels[row])), self.labels[row]


def mdistiller(world: World, network: str, clock: Clock, *, workers: int) -> None:
    """A loader with processes, a live teacher, and numbers read in every step."""
    side = world.size.sides[network]
    student = world.student(network).backbone.to(world.device).train()
    teacher = frozen_teacher(world.teacher_folder(side), world.device).backbone
    optimizer = torch.optim.SGD(student.parameters(), **RATE)
    loader = DataLoader(
        Pictures(world, side),
        batch_size=world.size.images_per_step,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
    )
    while True:
        for images, labels in loader:
            images, labels = images.float().to(world.device), labels.to(world.device)
            logits = student(images)
            with torch.no_grad():
                soft = teacher(images)
            loss = distillation_loss(logits, soft, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss.detach().cpu().numpy().mean()
            best = logits.topk(min(5, logits.shape[1]), 1).indices
            for k in (1, min(5, logits.shape[1])):
                (best[:, :k] == labels[:, None]).any(1).float().sum().item()
            clock()


def ceiling(world: World, network: str, clock: Clock) -> None:
    """The least: nothing is copied, and the whole step is one launch where there is a GPU."""
    side, size = world.size.sides[network], world.size.images_per_step
    model = world.student(network).to(world.device, memory_format=torch.channels_last).train()
    images = torch.from_numpy(np.asarray(world.prepared(side).images)[:size]).to(world.device)
    labels = torch.randint(0, world.size.classes, (size,), device=world.device)[: len(images)]
    soft = torch.randn(len(images), world.size.classes, device=world.device)
    fused = {"fused": True} if world.on_gpu else {}
    optimizer = torch.optim.SGD(model.parameters(), **RATE, **fused)

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(world.device.type, dtype=torch.bfloat16, enabled=world.on_gpu):
            logits = model(images)
        distillation_loss(logits.float(), soft, labels).backward()
        optimizer.step()

    launch = _graph(step, model) if world.on_gpu else step
    while True:
        launch()
        clock()


def _graph(step: Callable[[], None], model: nn.Module) -> Callable[[], None]:
    """The step as one CUDA graph, after a warm-up in a stream of its own."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    for parameter in model.parameters():
        parameter.grad = None
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def loops(world: World) -> dict[str, Callable[[World, str, Clock], None]]:
    """Every loop, by its name in the table."""
    peers = {
        f"mdistiller, {count} workers": partial(mdistiller, workers=count)
        for count in ((2, 8) if world.on_gpu else (0,))
    }
    least = {"ceiling": ceiling} if world.on_gpu else {"ceiling, without graph": ceiling}
    stored, live = partial(ours, live=False), partial(ours, live=True)
    return {"ours, stored": stored, "ours, live": live, "plain": plain, **peers, **least}


def busy(world: World, network: str) -> dict[str, float]:
    """Kernels of a step of our loop, and the share of the time in which the GPU works, as torch profiles."""
    steps, warm = world.size.steps, world.size.warm_steps
    profiler = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA])
    begun = 0.0

    def progress(done: int, total: int) -> None:
        nonlocal begun
        if done == warm:
            world.synchronize()
            profiler.start()
            begun = time.perf_counter()
        if done == warm + steps:
            world.synchronize()
            progress.seconds = time.perf_counter() - begun
            profiler.stop()
            raise Enough

    train(world, network, live=False, name=f"busy-{network}", progress=progress, endless=True)
    events = [event for event in profiler.events() if event.device_type.name == "CUDA"]
    seconds = sum(event.device_time_total for event in events) / 1e6
    return {"kernels_per_step": len(events) / steps, "busy_share": seconds / progress.seconds}


def speed(world: World) -> dict[str, Any]:
    """B1: medians over rounds in turns; a loop that fails is named and the others go on."""
    table: dict[str, Any] = {}
    deadline = time.monotonic() + 100
    for images in (64, 512) if world.on_gpu else (world.size.images_per_step,):
        sized = replace(world, size=replace(world.size, images_per_step=images))
        for network in world.size.networks:
            for _ in range(world.size.rounds):
                for name, loop in loops(world).items():
                    key = f"{network} {images} {name}"
                    if time.monotonic() > deadline:
                        table.setdefault(key, {"left_out": "no time"})
                        continue
                    table.setdefault(key, {"ms": [], "steps": []})
                    if "ms" in table[key]:
                        _time(sized, network, loop, table, key)
    summaries = {key: _summary(entry, int(key.split()[1])) for key, entry in table.items()}
    profiled = {name: busy(world, name) for name in world.size.networks} if world.on_gpu else {}
    return {"passed": None, "table": summaries, "profiled": profiled}


def _time(world: World, network: str, loop: Any, table: dict[str, Any], key: str) -> None:
    if world.on_gpu:
        torch.cuda.reset_peak_memory_stats()
    clock = Clock(world)
    try:
        loop(world, network, clock)
    except Enough:
        pass
    except (RuntimeError, torch.OutOfMemoryError) as failed:
        table[key] = {"failed": str(failed)[:300]}
        return
    entry = table[key]
    entry["ms"].append(1000 * clock.seconds)
    entry["steps"] += [1000 * seconds for seconds in clock.steps]
    if world.on_gpu:
        entry["allocated_mib"] = torch.cuda.max_memory_allocated() >> 20
        entry["reserved_mib"] = torch.cuda.max_memory_reserved() >> 20


def _summary(entry: dict[str, Any], images: int) -> dict[str, Any]:
    if "ms" not in entry:
        return entry
    median = float(np.median(entry["ms"]))
    low, high = (float(value) for value in np.percentile(entry["steps"], (5, 95)))
    memory = {key: entry[key] for key in ("allocated_mib", "reserved_mib") if key in entry}
    return {"ms": median, "p05_ms": low, "p95_ms": high, "images_per_s": 1000 * images / median, **memory}


SECTIONS = {"B1": speed}
