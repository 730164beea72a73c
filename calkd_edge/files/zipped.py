"""Zip files that others wrote: a bounded list of members, read in pieces.

In scope: one error for whatever is wrong with a zip. Out of scope: what its members mean.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from calkd_edge.files.bounded import Unreadable
from calkd_edge.files.digest import PIECE_BYTES
from calkd_edge.files.machine_limits import naming_limits
from calkd_edge.files.recognised import recognised

MOST_LIST_BYTES = 4 << 20
"""Of the list of members at the end of the file; some 50,000 members."""
MOST_TEXT_BYTES = 4 << 20
"""Of a member that is read as a whole, unless the caller sets another bound."""
_KINDS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""Other kinds of compression are unpacked without a bound of memory."""


class _BoundedReads(io.BufferedReader):
    """A file whose reads are bounded, as `zipfile` reads the list of members by one read."""

    def read(self, size: int | None = -1, /) -> bytes:
        """The next bytes, at most MOST_LIST_BYTES of them."""
        most = MOST_LIST_BYTES + 1
        content = super().read(most if size is None or size < 0 else min(size, most))
        if len(content) == most:
            raise Unreadable("it lists too many files")
        return content


@contextmanager
def opened_zip(source: Path | bytes) -> Iterator[zipfile.ZipFile]:
    """A zip file, from its path or its bytes.

    Raises:
        Unreadable: no zip, or one with too many members.
        OSError: there is no such file, or it must not be read.
    """
    with naming_limits():
        raw = io.FileIO(source) if isinstance(source, Path) else io.BytesIO(source)
    with _BoundedReads(raw) as stream:
        try:
            archive = zipfile.ZipFile(stream)
        except (OSError, Unreadable):
            raise
        except Exception as wrong:  # struct.error, UnicodeDecodeError and more, as the bytes are damaged
            other = recognised(source) if isinstance(source, Path) else None
            reason = str(wrong) or type(wrong).__name__
            raise Unreadable(f"{reason}: it is {other.what}" if other else reason) from wrong
        with archive:
            yield archive


def is_zip(path: Path) -> bool:
    """Whether a file is a zip file, whole or damaged."""
    try:
        return zipfile.is_zipfile(path)
    except zipfile.BadZipFile:  # of several disks
        return True


def pieces(archive: zipfile.ZipFile, name: str) -> Iterator[bytes]:
    """The content of a member, in pieces.

    Raises:
        Unreadable: encrypted, damaged, or compressed in another way than by deflate.
    """
    try:
        info = archive.getinfo(name)
        if info.compress_type not in _KINDS:
            raise Unreadable(f"{name} is compressed by method {info.compress_type}, not by deflate")
        with archive.open(info) as stream:
            while piece := stream.read(PIECE_BYTES):
                yield piece
    except Unreadable:
        raise
    except Exception as wrong:  # RuntimeError if encrypted, zlib.error, struct.error, BadZipFile and more
        raise Unreadable(f"{name}: {str(wrong) or type(wrong).__name__}") from wrong


def read_member(archive: zipfile.ZipFile, name: str, most: int = MOST_TEXT_BYTES) -> bytes:
    """The content of a member of at most `most` bytes.

    Raises:
        Unreadable: larger, absent, or as `pieces` raises it.
    """
    content = bytearray()
    for piece in pieces(archive, name):
        content += piece
        if len(content) > most:
            raise Unreadable(f"{name} is larger than {most:,} bytes")
    return bytes(content)
