"""What a training asks of the C library's memory."""

from __future__ import annotations

import ctypes
import logging
import sys

log = logging.getLogger(__name__)

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
"""glibc's names of its settings, from malloc.h."""

KEPT_BYTES = 1 << 30
LARGEST_HEAP_BLOCK = 32 << 20
"""glibc takes no larger value on 64-bit machines."""


def keep_freed_memory() -> bool:
    """Let the process keep freed blocks of up to 32 MiB, instead of handing them back to the system at once.

    Every step of a training frees and takes the same activations again; by default glibc returns each large
    one to the system, which then fills its pages with zeros once more: thousands of page faults a step. Up
    to 1 GiB is kept.

    Returns:
        Whether the C library has these settings; nothing is changed where it is not glibc.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = ((_MMAP_THRESHOLD, LARGEST_HEAP_BLOCK), (_TRIM_THRESHOLD, KEPT_BYTES), (_TOP_PAD, 1 << 20))
    taken = [mallopt(setting, value) == 1 for setting, value in settings]
    if not all(taken):
        log.debug("the C library refused some memory settings: %s", taken)
    return all(taken)
