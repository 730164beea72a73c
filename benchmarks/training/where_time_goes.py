"""Where the time of a training step on this CPU goes, and this machine's bound for it.

Steps as benchmarks/training/step.py times them (ours), profiled by torch, operators grouped by kind. The
bound: the products of the step at the speed of a large matrix product here, and the maps that batch
normalisation and activation must read and write (8 passes in training) at the speed of a copy here, one after
the other, all else free. Each network runs in a process of its own. Writes its result beside itself.

    python benchmarks/training/where_time_goes.py
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from step import IMAGES, NETWORKS, cpu_name, drawn
from torch import nn
from torch.profiler import ProfilerActivity, profile

from calkd_edge.training.fused_batch_norm import fused_batch_norm
from calkd_edge.training.kernels import quick_convolutions
from calkd_edge.training.memory import keep_freed_memory

WARM_UP, STEPS = 4, 12
PASSES = 8
"""Of batch normalisation with its activation over each map: forward reads it twice and writes; backward reads
two maps twice and writes one."""

MATRIX, COPIED_BYTES = 2048, 256 << 20


def kind_of(operator: str, shapes: list[list[int]]) -> str:
    """The kind of an operator's work."""
    if "atch_norm" in operator or operator.startswith("BatchNorm"):
        return "batch norm and activation"
    if any(word in operator for word in ("hardtanh", "relu", "hardswish", "threshold", "clamp")):
        return "batch norm and activation"
    if operator in ("aten::mm", "aten::addmm", "aten::bmm") or operator.startswith("Pointwise"):
        return "1x1 convolutions and products"
    if "convolution" in operator or operator.startswith(("Grouped", "Depthwise")):
        weight = shapes[2 if "backward" in operator else 1] if len(shapes) > 2 else []
        if len(weight) == 4 and weight[2:] == [1, 1]:
            return "1x1 convolutions and products"
        return "depthwise convolutions" if len(weight) == 4 and weight[1] == 1 else "other convolutions"
    if any(word in operator for word in ("copy", "add", "cat", "slice", "empty", "resize", "clone", "fill")):
        return "copies, adds, cats and memory"
    return "the rest"


def fastest(function: Any, repeats: int = 5) -> float:
    """Seconds of the quickest call."""
    seconds = []
    for _ in range(repeats):
        begun = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - begun)
    return min(seconds)


def bound_ms(net: nn.Module, images: torch.Tensor) -> dict[str, float]:
    """What the step must do, at the speeds that this machine reaches on large blocks."""
    maps: list[int] = []
    multiplied: list[int] = []

    def note(module: nn.Module, given: Any, result: torch.Tensor) -> None:
        if isinstance(module, nn.BatchNorm2d):
            maps.append(result.numel())
        elif isinstance(module, (nn.Conv2d, nn.Linear)):
            multiplied.append(result.numel() * module.weight[0].numel())

    handles = [module.register_forward_hook(note) for module in net.modules()]
    net(images)
    for handle in handles:
        handle.remove()
    step_flops = 3 * 2 * sum(multiplied)  # backward: a product for the input and one for the weights
    left, right = torch.rand(MATRIX, MATRIX), torch.rand(MATRIX, MATRIX)
    source, target = torch.rand(COPIED_BYTES // 4), torch.empty(COPIED_BYTES // 4)
    flops = 2 * MATRIX**3 / fastest(lambda: torch.mm(left, right))
    bandwidth = 2 * COPIED_BYTES / fastest(lambda: target.copy_(source))
    products = 1e3 * step_flops / flops
    passes = 1e3 * 4 * PASSES * sum(maps) / bandwidth
    return {
        "gflops_of_a_large_product": round(flops / 1e9, 1),
        "gb_per_second_of_a_copy": round(bandwidth / 1e9, 1),
        "gflop_of_the_step": round(step_flops / 1e9, 2),
        "products_ms": round(products, 1),
        "batch_norm_ms": round(passes, 1),
        "bound_ms": round(products + passes, 1),
    }


def measured(name: str, threads: int) -> dict[str, Any]:
    """The median step, its parts, and its bound."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    keep_freed_memory()
    net, optimizer, images, labels = drawn(name)

    def step() -> None:
        loss = nn.functional.cross_entropy(net(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    parts: Counter[str] = Counter()
    with ExitStack() as within:
        within.enter_context(quick_convolutions(net))
        within.enter_context(fused_batch_norm(net))
        for _ in range(WARM_UP):
            step()
        seconds = [fastest(step, 1) for _ in range(STEPS)]
        for _ in range(2):  # the first start of the profiler disturbs the memory, and does not count
            with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as profiled:
                for _ in range(STEPS):
                    step()
        for event in profiled.key_averages(group_by_input_shape=True):
            parts[kind_of(event.key, event.input_shapes)] += event.self_cpu_time_total
    whole = sum(parts.values())
    median = 1e3 * statistics.median(seconds)
    limit = bound_ms(net, images)
    return {
        "step_ms": round(median, 1),
        "shares": {kind: round(part / whole, 3) for kind, part in parts.most_common()},
        **limit,
        "step_over_bound": round(median / limit["bound_ms"], 2),
    }


def main() -> None:
    """Every network by one thread and by two."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--one", nargs=2, metavar=("NETWORK", "THREADS"))
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measured(options.one[0], int(options.one[1]))))
        return
    result: dict[str, Any] = {"cpu": cpu_name(), "torch": torch.__version__, "images_per_step": IMAGES}
    for threads in (1, 2):
        rows = result[f"{threads} threads" if threads > 1 else "1 thread"] = {}
        for name in NETWORKS:
            command = [sys.executable, __file__, "--one", name, str(threads)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            rows[name] = json.loads(done.stdout.splitlines()[-1])
            print(threads, name, rows[name], flush=True)
    Path(__file__).with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
