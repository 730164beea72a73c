"""Environment variables that libraries read when they start, and memory that runs out while they work.

In scope: their names, values and sentences. Out of scope: torch itself, which this room never imports.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from calkd_edge.errors import EnvironmentProblem

CUBLAS_WORKSPACE = ("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
"""Fixed work spaces, with which cuBLAS repeats its sums; read when CUDA starts."""

SPINS, TURNS_ALONE, TURNS_BESIDE_OTHERS = "GOMP_SPINCOUNT", "30000", "3000"
"""How often a waiting thread of OpenMP looks before it sleeps."""

LOWER_IMAGES = "Lower images_per_step, or use a larger machine."

_CPU_ALLOCATOR = re.compile("DefaultCPUAllocator: (can't allocate|not enough) memory")


def set_cublas_workspace() -> None:
    """Let cuBLAS repeat its sums in this process and those that it starts, unless the user has set it."""
    os.environ.setdefault(*CUBLAS_WORKSPACE)


def set_waiting(runnable: Callable[[], int] | None = None) -> None:
    """Choose how long OpenMP's waiting threads spin before they sleep, unless the user has set it.

    Read when torch is first imported. Alone, a long wait saves the time of waking them; beside another
    process that computes, it takes the core from it and from the training itself, so the wait is short there
    (benchmarks/training/busy_machine.json). No result depends on it.

    Args:
        runnable: number of threads of the whole machine that compute or could; by default Linux's own count.
    """
    if SPINS in os.environ:
        return
    try:
        others = min(_looks(runnable or _runnable)) - 1
    except (OSError, ValueError, IndexError):  # no Linux, or /proc is hidden
        others = 1
    os.environ[SPINS] = TURNS_BESIDE_OTHERS if others > 0 else TURNS_ALONE


def _looks(runnable: Callable[[], int]) -> Iterator[int]:
    """Some counts, a millisecond apart: what runs for a moment only is in nobody's way."""
    for _ in range(3):
        yield runnable()
        time.sleep(0.001)


def _runnable() -> int:
    return int(Path("/proc/loadavg").read_text(encoding="ascii").split()[3].partition("/")[0])


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
