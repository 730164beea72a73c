"""A bound on the memory of this process: a file that claims more than there is ends the job, not the board.

In scope: data that this process may allocate. Out of scope: machines with an NVIDIA GPU, whose driver maps
far more than it uses.
"""

from __future__ import annotations

import contextlib
import resource

from calkd_edge.agent import board
from calkd_edge.agent.machine import Machine

SHARE = 0.9
"""Of the memory that is available when the job starts."""

LEAST_BYTES = 256 << 20
"""A process gets so much in any case: the libraries themselves need it."""

REMEDY = "Lower evaluate.images, free memory on the board, or use a smaller model."
_WORDS = ("bad_alloc", "bad allocation", "failed to allocate", "out of memory", "cannot allocate memory")


def set_limit(machine: Machine) -> None:
    """Bound this process's data to what is available now, where the system has such a bound."""
    available = board.memory(machine)["available_bytes"]
    if available is None or board.has_nvidia_gpu(machine):
        return
    wanted = max(LEAST_BYTES, int(SHARE * available))
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    with contextlib.suppress(ValueError, OSError):  # a kernel that knows no such limit
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (most, hard))


def reached_by(message: str) -> bool:
    """Whether a library's message says that an allocation was refused."""
    return any(word in message.lower() for word in _WORDS)
