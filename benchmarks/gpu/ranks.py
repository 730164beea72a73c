"""Section A6: training in several processes.

torchrun --nproc-per-node N ranks.py DEVICE COMPLETE|REDUCED FOLDER RESULT.json

Every rank computes on the first GPU, over gloo where there are two: NCCL refuses two ranks of one GPU.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning_fabric.strategies.ddp import DDPStrategy
from student import after, train
from world import COMPLETE, REDUCED, World

from calkd_edge.errors import CalkdError
from calkd_edge.training.accelerator import check_processes

STEPS = {"complete": 10, "reduced": 3}
LIMIT_S = 60
FIRST_LIMITS = (1e-5, 1e-3)
"""Relative, of the loss at the first and the second step: the same outputs, then the same gradients. Rounding
grows a hundredfold a step in so small a training, so that later steps are reported and not judged."""


def fabric_of_this_rank(device: torch.device) -> Fabric:
    """A Fabric whose ranks all use the first GPU, also in a group of one."""
    world_size = int(os.environ["WORLD_SIZE"])
    # As on machines with one GPU each: the rank of each process on its own machine is 0.
    os.environ["LOCAL_RANK"], os.environ["LOCAL_WORLD_SIZE"] = "0", "1"
    backend = "nccl" if device.type == "cuda" and world_size == 1 else "gloo"
    strategy = DDPStrategy(process_group_backend=backend, gradient_as_bucket_view=True)
    fabric = Fabric(
        accelerator=device.type,
        devices=1,
        num_nodes=world_size,
        strategy=strategy,
        plugins=[TorchElasticEnvironment()],
    )
    fabric.launch()
    return fabric


def rank(world: World, result: Path, steps: int) -> None:
    """Train this rank's part; rank 0 writes the mean losses of all."""
    fabric = fabric_of_this_rank(world.device)
    module = train(
        world, "N1", live=False, fabric=fabric, name=f"ranks-{fabric.world_size}", progress=after(steps)
    )
    means = fabric.all_reduce(torch.stack(module.sums), reduce_op="mean")
    if fabric.global_rank == 0:
        result.write_text(json.dumps(means.tolist()))
    torch.distributed.destroy_process_group()


def ranks(world: World) -> dict[str, Any]:
    """A6: one rank and two ranks give the first losses of a training without ranks; too many are refused."""
    size = "complete" if world.size is COMPLETE else "reduced"
    steps = STEPS[size]
    alone = train(world, "N1", live=False, name="ranks-none", progress=after(steps)).losses
    gaps = {}
    for count in (1, 2):
        target = world.folder / f"losses-{count}.json"
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
        command += [__file__, world.device.type, size, str(world.folder), str(target)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S)
        if done.returncode:
            return {"passed": False, f"ranks_{count}": done.stderr[-2000:]}
        together = json.loads(target.read_text())
        pairs = zip(together, alone, strict=True)
        gaps[f"ranks_{count}"] = [abs(one - other) / max(1.0, abs(other)) for one, other in pairs]
    refused = _refusal(world)
    same = all(gap <= limit for each in gaps.values() for gap, limit in zip(each, FIRST_LIMITS, strict=False))
    passed = same and refused != "accepted"
    return {"passed": passed, **gaps, "steps": steps, "too_many": refused}


def _refusal(world: World) -> str:
    """What the project answers to one process more than there are GPUs."""
    if not world.on_gpu:
        return "not asked: processes on a CPU need no GPU"
    try:
        check_processes(torch.cuda.device_count() + 1, "cuda")
    except CalkdError as refused:
        return refused.message
    return "accepted"


SECTIONS = {"A6": ranks}

if __name__ == "__main__":
    device_name, size_name, folder, target_path = sys.argv[1:]
    sizes = {"complete": COMPLETE, "reduced": REDUCED}
    here = World(torch.device(device_name), sizes[size_name], Path(folder))
    rank(here, Path(target_path), STEPS[size_name])
