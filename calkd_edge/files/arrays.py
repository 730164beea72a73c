"""Arrays that others wrote, in .npy and .npz files: no array is made before the file is known to hold it.

In scope: one error for whatever is wrong with such a file. Out of scope: what the arrays mean.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeVar

import numpy as np
from numpy.typing import NDArray

from calkd_edge.errors import CalkdError
from calkd_edge.files.bounded import Unreadable
from calkd_edge.files.digest import PIECE_BYTES
from calkd_edge.files.machine_limits import naming_limits
from calkd_edge.files.zipped import opened_zip, pieces

Array = NDArray[np.generic]
MOST_HEADER_BYTES = 1 << 16
MOST_INFLATED = 1100
"""Bytes that one byte of deflate can stand for, rounded up."""
T = TypeVar("T")


@dataclass(frozen=True)
class _Header:
    shape: tuple[int, ...]
    in_fortran_order: bool
    dtype: np.dtype[np.generic]
    begin: int

    @property
    def size_bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def read_arrays(source: Path | bytes, names: Collection[str] | None = None) -> dict[str, Array]:
    """The arrays of an .npz file by name.

    Args:
        source: path or bytes of the file.
        names: of the arrays to read; all by default.

    Raises:
        Unreadable: no such file format, or an array that the file does not hold.
        OSError: there is no such file.
    """
    with opened_zip(source) as archive:
        arrays = {}
        for member in archive.infolist():
            name = member.filename.removesuffix(".npy")
            if name != member.filename and (names is None or name in names):
                arrays[name] = _guarded(lambda member=member: _of_member(archive, member), name)  # type: ignore[misc]
        return arrays


def read_array(path: Path) -> Array:
    """The array of an .npy file.

    Raises:
        Unreadable: no such file format, or it does not hold what it claims.
        OSError: there is no such file.
    """
    with naming_limits(), path.open("rb") as stream:
        return _guarded(lambda: _from_stream(stream, path.stat().st_size), path.name)


def map_array(path: Path) -> Array:
    """The array of an .npy file, read when it is used.

    Raises:
        Unreadable: no such file format, or it does not hold what it claims.
        OSError: there is no such file.
    """

    def mapped() -> Array:
        with path.open("rb") as stream:
            header = _header(stream, path.stat().st_size)
        if not header.size_bytes:
            return np.empty(header.shape, header.dtype)
        order = "F" if header.in_fortran_order else "C"
        return np.memmap(path, header.dtype, "r", header.begin, header.shape, order)  # type: ignore[call-overload,no-any-return]

    return _guarded(mapped, path.name)


def _guarded(read: Callable[[], T], name: str) -> T:
    try:
        with naming_limits():
            return read()
    except (CalkdError, Unreadable, FileNotFoundError, PermissionError):
        raise
    except (
        Exception
    ) as wrong:  # numpy evaluates a header's text: SyntaxError, TypeError, MemoryError and more
        raise Unreadable(f"{name}: {str(wrong) or type(wrong).__name__}") from wrong


def _of_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Array:
    if member.file_size > MOST_INFLATED * (member.compress_size + 1):
        raise Unreadable(f"{member.filename} claims {member.file_size:,} bytes, which it cannot hold")
    return _from_stream(_Pieces(archive, member.filename), member.file_size)


class _Pieces(io.RawIOBase):
    """A member of a zip file as a stream."""

    def __init__(self, archive: zipfile.ZipFile, name: str) -> None:
        self._pieces, self._rest = pieces(archive, name), memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, target: memoryview) -> int:  # type: ignore[override]
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest = memoryview(piece)
        taken = self._rest[: len(target)]
        target[: len(taken)] = taken
        self._rest = self._rest[len(taken) :]
        return len(taken)


def _header(stream: IO[bytes] | io.RawIOBase, size: int) -> _Header:
    """The description of an array, checked against the size of the file."""
    version = np.lib.format.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise Unreadable(f"an array file of version {version}, which holds no plain numbers")
    width = 2 if version == (1, 0) else 4
    prefix = _exactly(stream, width)
    length = int.from_bytes(prefix, "little")
    if length > MOST_HEADER_BYTES:
        raise Unreadable(f"the description of an array has {length:,} bytes")
    text = io.BytesIO(prefix + _exactly(stream, length))
    read = np.lib.format.read_array_header_1_0 if width == 2 else np.lib.format.read_array_header_2_0
    shape, in_fortran_order, dtype = read(text)
    header = _Header(shape, in_fortran_order, dtype, 8 + width + length)
    if dtype.hasobject or dtype.names is not None:
        raise Unreadable("an array of objects; save numbers or texts")
    if any(edge < 0 for edge in shape) or header.begin + header.size_bytes > size:
        held = max(0, size - header.begin)
        raise Unreadable(f"an array claims {list(shape)} of {dtype}, and the file holds {held:,} bytes of it")
    return header


def _from_stream(stream: IO[bytes] | io.RawIOBase, size: int) -> Array:
    header = _header(stream, size)
    content = np.empty(header.size_bytes, np.uint8)
    for start in range(0, len(content), PIECE_BYTES):
        part = content[start : start + PIECE_BYTES]
        part[:] = np.frombuffer(_exactly(stream, len(part)), np.uint8)
    flat = content.view(header.dtype) if header.dtype.itemsize else np.zeros(0, header.dtype)
    if header.dtype.kind == "U":
        _check_text(content.view(np.dtype("u4").newbyteorder(header.dtype.byteorder)))
    return flat.reshape(header.shape[::-1]).T if header.in_fortran_order else flat.reshape(header.shape)


def _exactly(stream: IO[bytes] | io.RawIOBase, size: int) -> bytes:
    content = b""
    while len(content) < size:
        piece = stream.read(size - len(content))
        if not piece:
            raise Unreadable("an array ends before its last number")
        content += piece
    return content


def _check_text(codes: NDArray[np.uint32]) -> None:
    if ((codes > 0x10FFFF) | ((codes >= 0xD800) & (codes <= 0xDFFF))).any():
        raise Unreadable("an array of texts holds numbers that are no characters")
