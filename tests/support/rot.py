"""Rot: one changed byte in a file, at places spread over it; for short tests and for long soaks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np


def flips(path: Path, count: int, seed: int = 0) -> Iterator[tuple[int, int]]:
    """Change one byte at a time, and change it back after each step; yields (position, bit).

    The first and the last byte are among the positions.
    """
    content = path.read_bytes()
    generator = np.random.default_rng([seed, len(content)])
    chosen = generator.integers(0, len(content), size=max(0, count - 2)).tolist()
    for position in (0, len(content) - 1, *chosen):
        bit = int(generator.integers(8))
        changed = bytearray(content)
        changed[position] ^= 1 << bit
        path.write_bytes(changed)
        try:
            yield position, bit
        finally:
            path.write_bytes(content)


def flip(path: Path, position: int = -1) -> None:
    """Change one bit of a file, by default in its middle, for good."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2 if position < 0 else position] ^= 4
    path.write_bytes(content)
