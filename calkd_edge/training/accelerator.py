"""Where a training runs: CPU or CUDA, one process or several, and its number format."""

from __future__ import annotations

import atexit
import os
from typing import TYPE_CHECKING, Literal

import torch
from torch import distributed

from calkd_edge.errors import EnvironmentProblem

if TYPE_CHECKING:
    from lightning_fabric import Fabric


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


def fabric_for(accelerator: str, autocast: str | None = None) -> Fabric:
    """A launched Fabric: one process, or the rank that torchrun started.

    Args:
        accelerator: auto, cpu or cuda.
        autocast: bf16 or fp16 for the forward pass, with weights in float32; None for float32 everywhere.

    Raises:
        EnvironmentProblem: the machine has no CUDA device, or the accelerator does not support the autocast
            type.
    """
    from lightning_fabric import Fabric

    from calkd_edge.training.autocast import Autocast

    chosen = chosen_accelerator(accelerator)
    check_autocast(autocast, chosen, "autocast")
    world = int(os.environ.get("WORLD_SIZE", "1"))
    local = int(os.environ.get("LOCAL_WORLD_SIZE", str(world)))
    fabric = Fabric(
        accelerator=chosen,
        devices=local,
        num_nodes=max(1, world // local),
        strategy="ddp" if world > 1 else "auto",
        plugins=[] if autocast is None else [Autocast(autocast, chosen)],
    )
    fabric.launch()
    if world > 1:
        atexit.register(_leave_group)
    return fabric


def _leave_group() -> None:
    """Leave the process group before the interpreter ends: its threads may abort the process otherwise."""
    if distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()
