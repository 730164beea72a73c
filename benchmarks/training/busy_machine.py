"""Training speed by how long waiting threads spin before they sleep, alone and beside another process.

Each figure is images per second of MobileNetV2 x0.5 on 32x32 images, forward, backward and step as a training
computes them, in a process of its own; settings alternate, so that the machine's own drift falls on both.
Writes its result beside itself.

    python benchmarks/training/busy_machine.py
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

from step import cpu_name

ROUNDS = 3
SETTINGS = {
    "OpenMP's default": {},
    **{f"{count} turns": {"GOMP_SPINCOUNT": str(count)} for count in (300, 3000, 10_000, 30_000)},
}
STEPS = """
import sys, time, torch
from calkd_edge.models import MODELS
from calkd_edge.training.fused_batch_norm import fused_batch_norm
from calkd_edge.training.kernels import quick_convolutions
from calkd_edge.training.memory import keep_freed_memory
keep_freed_memory()
torch.manual_seed(0)
net = MODELS.load("mobilenet_v2")(10, (3, 32, 32), width=0.5).to(memory_format=torch.channels_last).train()
images = torch.randn(64, 3, 32, 32).to(memory_format=torch.channels_last)
labels = torch.zeros(64, dtype=torch.long)
optimizer = torch.optim.SGD(net.parameters(), 0.01, momentum=0.9)
def step():
    loss = torch.nn.functional.cross_entropy(net(images), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
with quick_convolutions(net), fused_batch_norm(net):
    step()
    step()
    steps, begun = 0, time.perf_counter()
    while time.perf_counter() - begun < float(sys.argv[1]):
        step()
        steps += 1
print(64 * steps / (time.perf_counter() - begun))
"""
LOAD = "x = 1\nwhile True:\n    x = (x * 1103515245 + 12345) % 2147483648"


def images_per_second(extra: dict[str, str], seconds: float) -> float:
    """One process' speed under extra environment variables."""
    environment = {key: value for key, value in os.environ.items() if key != "GOMP_SPINCOUNT"} | extra
    command = [sys.executable, "-c", STEPS, str(seconds)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return float(done.stdout)


def measured(busy: bool) -> dict[str, list[float]]:
    """Every round's speed by setting, beside a process that computes when `busy`."""
    load = subprocess.Popen([sys.executable, "-c", LOAD]) if busy else None
    try:
        found: dict[str, list[float]] = {name: [] for name in SETTINGS}
        for _ in range(ROUNDS):
            for name, extra in SETTINGS.items():
                found[name].append(round(images_per_second(extra, 4.0), 1))
        return found
    finally:
        if load is not None:
            load.kill()


def main() -> None:
    """Measure alone and busy, and write busy_machine.json."""
    result = {
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "images_per_second": {},
    }
    for name, busy in (("alone", False), ("beside another process", True)):
        found = measured(busy)
        base = found["OpenMP's default"]
        result["images_per_second"][name] = {
            setting: {
                "each round": speeds,
                "median ratio to the default": round(
                    statistics.median(speed / other for speed, other in zip(speeds, base, strict=True)), 3
                ),
            }
            for setting, speeds in found.items()
        }
    target = Path(__file__).with_suffix(".json")
    target.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(target.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
