"""A disk of one MiB, where this user may mount one."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOM = 1 << 20


@contextlib.contextmanager
def mounted(folder: Path) -> Iterator[Path]:
    """A file system of one MiB at a folder, gone at the end however the block ends."""
    folder.mkdir(exist_ok=True)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={ROOM}", "none", folder], check=False)
    if done.returncode:
        pytest.skip("this user cannot mount a file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)
