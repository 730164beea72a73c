"""Settings of the C library's memory allocator for a training."""

from __future__ import annotations

import ctypes
import logging
import sys

log = logging.getLogger(__name__)

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
"""glibc's numbers of its settings, from malloc.h."""

KEPT_BYTES = 1 << 30
LARGEST_HEAP_BLOCK = 32 << 20
"""The largest value that glibc accepts on 64-bit machines."""


def keep_freed_memory() -> bool:
    """Let the process keep freed blocks of up to 32 MiB instead of returning them to the system.

    Every training step frees and allocates the same activations. By default glibc returns each large block to
    the system, which fills its pages with zeros again: thousands of page faults per step. Up to 1 GiB is
    kept.

    Returns:
        Whether the settings were accepted; nothing changes where the C library is not glibc.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = ((_MMAP_THRESHOLD, LARGEST_HEAP_BLOCK), (_TRIM_THRESHOLD, KEPT_BYTES), (_TOP_PAD, 1 << 20))
    accepted = [mallopt(setting, value) == 1 for setting, value in settings]
    if not all(accepted):
        log.debug("the C library refused some memory settings: %s", accepted)
    return all(accepted)
