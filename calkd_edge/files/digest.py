"""Digests of files, read in pieces."""

from __future__ import annotations

import hashlib
from pathlib import Path

from calkd_edge.files.machine_limits import naming_limits

PIECE_BYTES = 1 << 20


def file_digest(path: Path, algorithm: str) -> str:
    """Hexadecimal digest of a file; `algorithm` as hashlib names it."""
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with naming_limits(), path.open("rb") as stream:
        while piece := stream.read(PIECE_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    return file_digest(path, "sha256")
