"""The content of image files, as far as the identity of a data set needs it."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path

END_BYTES = 4096
"""Of each end of a compressed file, for the identity."""

COMPRESSED = {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".avif"}
"""Formats in which a change anywhere changes the end or the size of a file."""


def content_of(path: Path, size: int) -> bytes:
    """SHA-256 of an image file, of its first and last bytes where its format is compressed.

    Without content where it cannot be read.
    """
    digest = hashlib.sha256()
    with suppress(OSError), path.open("rb", buffering=0) as stream:
        if path.suffix.lower() not in COMPRESSED:
            while piece := stream.read(1 << 20):
                digest.update(piece)
            return digest.digest()
        digest.update(stream.read(END_BYTES))
        if size > END_BYTES:
            stream.seek(max(END_BYTES, size - END_BYTES))
            digest.update(stream.read(END_BYTES))
    return digest.digest()
