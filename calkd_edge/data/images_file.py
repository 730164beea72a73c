"""images.npy: images decoded row by row into a memory-mapped file with pre-allocated space."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from calkd_edge.data.source import BrokenImage, ImageArray, Progress, Source
from calkd_edge.errors import StageFailed
from calkd_edge.files.new_array import new_array
from calkd_edge.records import IntArray

_CHUNK_IMAGES = 256
_THREADED_BYTES = 8192
"""Of an image's file, on average: from here on, decoding in threads gains more than it costs. A JPEG of about
100 pixels a side."""

_THREADED_PIXELS = 64 * 64
"""Of a decoded image, where images have no files."""

_SHOWN = 5


def write_images(
    source: Source, used: IntArray, target: Path, *, broken: str, progress: Progress
) -> tuple[dict[int, bytes], list[tuple[str, str]]]:
    """Decode `used` into `target`; SHA-256 of each decoded row, and (name, reason) of each broken image."""
    shape = (len(used), *source.image_shape)
    images = new_array(target, shape)
    digests: dict[int, bytes] = {}
    failures: list[BrokenImage] = []
    for row, result in enumerate(_decoded(source, used, progress)):
        if isinstance(result, BrokenImage):
            failures.append(result)
        else:
            images[row] = result
            digests[row] = hashlib.sha256(result.tobytes()).digest()
    if failures and broken == "refuse":
        named = "; ".join(str(failure) for failure in failures[:_SHOWN])
        more = f"; and {len(failures) - _SHOWN} more" if len(failures) > _SHOWN else ""
        raise StageFailed(
            f"{len(failures)} of {len(used)} images cannot be decoded: {named}{more}",
            remedy="Repair or remove them, or skip them with: --set data.broken=skip",
            stage="prepare",
        )
    return digests, [(failure.name, failure.reason) for failure in failures]


def _decoded(source: Source, used: IntArray, progress: Progress) -> Iterator[ImageArray | BrokenImage]:
    """Each image in order, or why it cannot be decoded; large images in threads, as Pillow frees the lock."""

    def attempt(position: int) -> ImageArray | BrokenImage:
        try:
            return source.decode(position)
        except BrokenImage as wrong:
            return BrokenImage(wrong.name, wrong.reason)  # without the traceback, which refers to the pixels

    positions = used.tolist()
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for start in range(0, len(positions), _CHUNK_IMAGES):
            piece = positions[start : start + _CHUNK_IMAGES]
            yield from pool.map(attempt, piece) if _slow(source, piece) else map(attempt, piece)
            progress(start + len(piece), len(positions))


def _slow(source: Source, positions: list[int]) -> bool:
    """Whether decoding one of these images takes longer than handing it to a thread."""
    if source.file_bytes is None:
        return source.image_shape[1] * source.image_shape[2] >= _THREADED_PIXELS
    return sum(map(source.file_bytes, positions)) >= _THREADED_BYTES * len(positions)


def drop_rows(target: Path, kept: IntArray) -> None:
    """Remove all rows but `kept` from an .npy file."""
    complete = np.load(target, mmap_mode="r")
    shorter = target.with_suffix(".tmp")
    copy = new_array(shorter, (len(kept), *complete.shape[1:]))
    for start in range(0, len(kept), _CHUNK_IMAGES):
        copy[start : start + _CHUNK_IMAGES] = complete[kept[start : start + _CHUNK_IMAGES]]
    shorter.replace(target)
