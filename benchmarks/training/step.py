"""Steps of mobile networks on this CPU: torch's own, and what a training of ours adds one by one.

`torch`: channels-last, nothing else. `kept memory`: freed blocks stay in the process, in huge pages
(training.memory). `convolutions`: and training.kernels. `ours`: and training.fused_batch_norm, as `fit` has
it; with `autocast: bf16` too, where those routes leave all to torch. CIFAR forms, 64 images of 32 px, SGD
with momentum, cross entropy. Each way runs in a process of its own, in turns, so that the machine's drift
falls on all; a ratio is that of a round, its median stands here. Writes its result beside itself.

    python benchmarks/training/step.py
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from torch import nn

from calkd_edge.models import MODELS
from calkd_edge.training.fused_batch_norm import fused_batch_norm
from calkd_edge.training.kernels import quick_convolutions
from calkd_edge.training.memory import keep_freed_memory

NETWORKS: dict[str, dict[str, Any]] = {
    "mobilenet_v2": {"width": 0.5, "divisor": 1},
    "mobilenet_v3_small": {},
    "shufflenet_v2": {},
    "shufflenet_v1": {},
    "resnet20": {},
}
WAYS = ("torch", "kept memory", "convolutions", "ours", "ours in bf16")
IMAGES, WARM_UP, STEPS = 64, 3, 8


def cpu_name() -> str:
    """The processor that the figures belong to."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown"
    )


def drawn(name: str) -> tuple[nn.Module, torch.optim.Optimizer, torch.Tensor, torch.Tensor]:
    """A network in its CIFAR form, its optimizer, images and labels."""
    net = MODELS.load(name)(100, (3, 32, 32), **NETWORKS[name]).train().to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-4, momentum=0.9)
    images = torch.randn(IMAGES, 3, 32, 32).to(memory_format=torch.channels_last)
    return net, optimizer, images, torch.randint(0, 100, (IMAGES,))


def milliseconds(name: str, way: str, threads: int) -> float:
    """The median step."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    if way != "torch":
        keep_freed_memory()
    net, optimizer, images, labels = drawn(name)
    seconds = []
    with ExitStack() as within:
        if way in WAYS[2:]:
            within.enter_context(quick_convolutions(net))
        if way in WAYS[3:]:
            within.enter_context(fused_batch_norm(net))
        for _ in range(WARM_UP + STEPS):
            begun = time.perf_counter()
            with torch.autocast("cpu", torch.bfloat16, enabled=way == "ours in bf16"):
                logits = net(images)
            loss = nn.functional.cross_entropy(logits.float(), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            seconds.append(time.perf_counter() - begun)
    return 1e3 * statistics.median(seconds[WARM_UP:])


def compared(name: str, threads: int, rounds: int) -> dict[str, Any]:
    """Every way in turns."""
    taken: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(rounds):
        for way in WAYS:
            command = [sys.executable, __file__, "--one", name, way, str(threads)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            taken[way].append(float(done.stdout))
    ratios = {
        way: statistics.median(a / b for a, b in zip(taken["torch"], taken[way], strict=True))
        for way in WAYS[1:]
    }
    return {
        "ms": {way: round(statistics.median(each), 1) for way, each in taken.items()},
        "times_as_fast_as_torch": {way: round(ratio, 2) for way, ratio in ratios.items()},
    }


def main() -> None:
    """Every network by one thread and by two."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--one", nargs=3, metavar=("NETWORK", "WAY", "THREADS"))
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    if options.one:
        name, way, threads = options.one
        print(milliseconds(name, way, int(threads)))
        return
    result: dict[str, Any] = {"cpu": cpu_name(), "torch": torch.__version__, "images_per_step": IMAGES}
    result["rounds"] = options.rounds
    for threads in (1, 2):
        steps = {name: compared(name, threads, options.rounds) for name in NETWORKS}
        result[f"{threads} threads" if threads > 1 else "1 thread"] = steps
        for name, row in steps.items():
            print(threads, name, row["ms"], row["times_as_fast_as_torch"], flush=True)
    Path(__file__).with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
