"""Settings of the C library's memory allocator for a training."""

from __future__ import annotations

import ctypes
import logging
import mmap
import sys
from pathlib import Path

log = logging.getLogger(__name__)

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
"""glibc's numbers of its settings, from malloc.h."""

KEPT_BYTES = 1 << 30
LARGEST_HEAP_BLOCK = 32 << 20
"""The largest value that glibc accepts on 64-bit machines."""


def keep_freed_memory() -> bool:
    """Let the process keep freed blocks of up to 32 MiB, in huge pages where the system has them.

    Every training step frees and allocates the same activations. By default glibc returns each large block to
    the system, which fills its pages with zeros again: thousands of page faults per step. Up to 1 GiB is
    kept. In pages of 4 KiB, finding them takes some per cent of a step; Linux gives 2 MiB pages to who asks.

    Returns:
        Whether the settings were accepted; nothing changes where the C library is not glibc.
    """
    if not sys.platform.startswith("linux"):
        return False
    library = ctypes.CDLL(None, use_errno=True)
    mallopt = getattr(library, "mallopt", None)
    if mallopt is None:
        return False
    settings = (
        (_MMAP_THRESHOLD, LARGEST_HEAP_BLOCK),
        (_TRIM_THRESHOLD, 2 * KEPT_BYTES - 1),  # beside the pad, which is free as well; the largest int
        (_TOP_PAD, KEPT_BYTES),
    )
    accepted = [mallopt(setting, value) == 1 for setting, value in settings]
    if all(accepted):
        _use_huge_pages(library)
    accepted.append(mallopt(_TOP_PAD, 1 << 20) == 1)
    if not all(accepted):
        log.debug("the C library refused some memory settings: %s", accepted)
    return all(accepted)


def _use_huge_pages(library: ctypes.CDLL) -> None:
    """Let the heap grow by its pad, and ask for huge pages there; memory that is not used costs nothing."""
    advise = library.madvise
    advise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    library.malloc.restype, library.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    library.free.argtypes = [ctypes.c_void_p]
    block = library.malloc(LARGEST_HEAP_BLOCK - 4096)  # too large for what is free: the heap grows for it
    heap = _heap()
    if heap is not None and advise(heap[0], heap[1] - heap[0], mmap.MADV_HUGEPAGE) != 0:
        log.debug("no huge pages: error %d", ctypes.get_errno())
    library.free(block)


def _heap() -> tuple[int, int] | None:
    """The heap's first address and the one behind it."""
    for line in Path("/proc/self/maps").read_text(encoding="utf-8").splitlines():
        if line.endswith("[heap]"):
            start, _, end = line.split()[0].partition("-")
            return int(start, 16), int(end, 16)
    return None
