"""Environment variables that libraries read when they start, and memory that runs out while they work.

In scope: their names, values and sentences. Out of scope: torch itself, which this room never imports.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from calkd_edge.errors import EnvironmentProblem

CUBLAS_WORKSPACE = ("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
"""Fixed work spaces, with which cuBLAS repeats its sums; read when CUDA starts."""

LOWER_IMAGES = "Lower images_per_step, or use a larger machine."

_CPU_ALLOCATOR = re.compile("DefaultCPUAllocator: (can't allocate|not enough) memory")


def set_cublas_workspace() -> None:
    """Let cuBLAS repeat its sums in this process and those that it starts, unless the user has set it."""
    os.environ.setdefault(*CUBLAS_WORKSPACE)


def local_processes() -> int:
    """How many processes of one training run on this machine: those that torchrun started, or this one."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", os.environ.get("WORLD_SIZE", "1")))


def is_lack_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: of this process, or of torch on the CPU or on a GPU."""
    if isinstance(error, MemoryError):
        return True
    torch = sys.modules.get("torch")  # who raises its errors has imported it
    if torch is not None and isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and _CPU_ALLOCATOR.search(str(error)) is not None


@contextmanager
def naming_lack_of_memory(where: str, remedy: str = LOWER_IMAGES) -> Iterator[None]:
    """Within it, a lack of memory of the machine or of its GPU is an error with a remedy.

    Args:
        where: begins the message, such as "stage distill".
        remedy: what to do.

    Raises:
        EnvironmentProblem: memory ran out.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as failed:
        if not is_lack_of_memory(failed):
            raise
        what = "not enough memory" if isinstance(failed, MemoryError) else _first_sentence(failed)
        raise EnvironmentProblem(f"{where}: {what}", remedy=remedy) from failed


def _first_sentence(failed: RuntimeError) -> str:
    text = str(failed)
    if "DefaultCPUAllocator" in text:
        return "not enough memory"
    return f"not enough memory on the GPU: {text.partition('. GPU')[0].strip() or type(failed).__name__}"
