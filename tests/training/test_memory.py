"""keep_freed_memory: freed blocks stay, in pages of 2 MiB, without more memory in use."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")

PROGRAM = """
import resource
from pathlib import Path
import numpy as np
from calkd_edge.training.memory import keep_freed_memory

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

before = resident()
assert keep_freed_memory() and keep_freed_memory()  # also where it was called before
grown = resident() - before
heap = Path("/proc/self/smaps").read_text().split("[heap]")[1].split("VmFlags:")[1].splitlines()[0]
faults = []
for _ in range(4):
    start = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = np.ones(7_000_000, np.float32)
    del block
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - start)
print(grown, faults[-1], "hg" in heap.split())
"""


@pytest.mark.skipif(not HUGE_PAGES.exists(), reason="no huge pages on this system")
def test_freed_blocks_are_kept_in_huge_pages():
    run = [sys.executable, "-c", PROGRAM]
    grown, faults, has_huge_pages = subprocess.run(
        run, capture_output=True, text=True, check=True
    ).stdout.split()
    assert int(grown) < 8 << 20, "the pad that is not used costs nothing"
    assert int(faults) < 20, "28 MB are 6836 pages of 4 KiB, had they been returned"
    assert has_huge_pages == "True"
