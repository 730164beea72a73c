"""Where a training runs: CPU or CUDA, one process or several, and its number format."""

from __future__ import annotations

import atexit
import inspect
import os
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from calkd_edge.errors import EnvironmentProblem
from calkd_edge.files.environment import local_processes
from calkd_edge.training.cuda import set_up_cuda

if TYPE_CHECKING:
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
    from lightning_fabric.strategies.ddp import DDPStrategy


def chosen_accelerator(accelerator: str) -> Literal["cpu", "cuda"]:
    """Where a training runs: the first CUDA device if there is one, unless `accelerator` is cpu.

    Raises:
        EnvironmentProblem: cuda is asked for and torch sees no CUDA device.
    """
    if accelerator == "cuda" and not torch.cuda.is_available():
        raise EnvironmentProblem(
            "--accelerator cuda: torch sees no CUDA device", remedy="Use --accelerator auto or cpu."
        )
    return "cuda" if accelerator != "cpu" and torch.cuda.is_available() else "cpu"


def check_autocast(autocast: str | None, accelerator: Literal["cpu", "cuda"], where: str) -> None:
    """Refuse a number format that an accelerator cannot autocast to.

    Raises:
        EnvironmentProblem: naming the formats that it can.
    """
    supported = {
        None: True,
        "bf16": accelerator == "cpu" or torch.cuda.is_bf16_supported(),
        "fp16": accelerator == "cuda",
    }
    if not supported[autocast]:
        raise EnvironmentProblem(
            f"{where}: {autocast} does not work on this accelerator ({accelerator})",
            remedy=f"Set it to {', '.join(str(name or 'null') for name in supported if supported[name])}.",
        )


def check_processes(processes: int, accelerator: Literal["cpu", "cuda"]) -> None:
    """Refuse more processes on this machine than it has GPUs.

    Raises:
        EnvironmentProblem: naming both numbers.
    """
    if accelerator == "cuda" and processes > (count := torch.cuda.device_count()):
        raise EnvironmentProblem(
            f"--processes {processes}: each needs a GPU, and torch sees {count} on this machine",
            remedy=f"Use --processes {count}, or --accelerator cpu.",
        )


def fabric_for(accelerator: str, autocast: str | None = None) -> Fabric:
    """A launched Fabric: one process, or the rank that torchrun started.

    Args:
        accelerator: auto, cpu or cuda.
        autocast: bf16 or fp16 for the forward pass, with weights in float32; None for float32 everywhere.

    Raises:
        EnvironmentProblem: the machine has no CUDA device, or fewer than processes, or the accelerator does
            not support the autocast type.
    """
    from lightning_fabric import Fabric

    from calkd_edge.training.autocast import Autocast

    chosen = chosen_accelerator(accelerator)
    check_autocast(autocast, chosen, "autocast")
    world, local = int(os.environ.get("WORLD_SIZE", "1")), local_processes()
    check_processes(local, chosen)
    if chosen == "cuda":
        set_up_cuda()
    fabric = Fabric(
        accelerator=chosen,
        devices=local,
        num_nodes=max(1, world // local),
        strategy=_data_parallel() if world > 1 else "auto",
        plugins=[_cluster(), *([] if autocast is None else [Autocast(autocast, chosen)])],
    )
    fabric.launch()
    if world > 1:
        atexit.register(_leave_group)
    return fabric


def _data_parallel() -> DDPStrategy:
    """One copy of the network in each process.

    Buffers need no copy in every step: training reads none that differs between processes, and rank 0 writes
    those that ship. Gradients are computed in the memory that is sent.
    """
    from lightning_fabric.strategies.ddp import DDPStrategy

    # Before torch 2.14 the only name, which then also leaves out the copy at the start: all start equal.
    known = inspect.signature(DistributedDataParallel).parameters
    buffers = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
    settings: dict[str, Any] = {buffers: False, "gradient_as_bucket_view": True}
    return DDPStrategy(**settings)


def _cluster() -> ClusterEnvironment:
    """Who started this process: torchrun, or nobody; Fabric would look for Slurm and MPI by itself."""
    from lightning_fabric.plugins.environments.lightning import LightningEnvironment
    from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment

    return TorchElasticEnvironment() if "WORLD_SIZE" in os.environ else LightningEnvironment()


def _leave_group() -> None:
    """Leave the process group before the interpreter ends: its threads may abort the process otherwise."""
    if distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()
