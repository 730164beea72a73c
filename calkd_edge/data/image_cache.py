"""Caching the pixels of a prepared folder: in memory, in the system's cache, or not at all."""

from __future__ import annotations

import logging
import os
import weakref
from pathlib import Path
from typing import Literal

import numpy as np

from calkd_edge.data.source import ImageArray
from calkd_edge.files.available_memory import available_bytes
from calkd_edge.files.environment import local_processes
from calkd_edge.records import IntArray

log = logging.getLogger(__name__)

Cache = Literal["memory", "disk", "none"]

_SHARE = 2
"""Images are read into memory if they take at most one part in this many of the available memory."""


class UnkeptImages:
    """Images of an .npy file, read on each access and cached neither by this process nor by the system.

    For machines that count cached pages of a file against a process' memory limit, as containers do.

    Args:
        path: uint8 [N, 3, H, W] in C order, as `prepare` writes it.
    """

    def __init__(self, path: Path) -> None:
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)
        self.shape: tuple[int, ...] = mapped.shape
        self.nbytes: int = mapped.nbytes
        self._offset: int = mapped.offset
        self._file = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._file)
        os.posix_fadvise(self._file, 0, 0, os.POSIX_FADV_RANDOM)  # no read-ahead

    def __getitem__(self, rows: IntArray) -> ImageArray:
        """A copy of the rows, uint8 [n, 3, H, W]."""
        images = np.empty((len(rows), *self.shape[1:]), dtype=np.uint8)
        size = self.nbytes // self.shape[0]
        for image, row in zip(images, rows.tolist(), strict=True):
            start = self._offset + row % self.shape[0] * size
            if os.preadv(self._file, [image.data], start) != size:
                raise OSError(f"the file of images ends before row {row}")
        os.posix_fadvise(self._file, 0, 0, os.POSIX_FADV_DONTNEED)
        return images


def open_images(path: Path, cache: Cache) -> ImageArray | UnkeptImages:
    """The images of an .npy file, uint8 [N, 3, H, W], to be read by rows.

    Args:
        path: the file.
        cache: `disk` maps the file, and the system caches its pages; `memory` reads the file if the copies
            of all processes of a training take at most half of the available memory, and maps it otherwise;
            `none` reads each row on access.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not an .npy file.
    """
    if cache == "none":
        return UnkeptImages(path)
    mapped: ImageArray = np.load(path, mmap_mode="r", allow_pickle=False)
    if cache == "disk":
        return mapped
    available, copies = available_bytes(), local_processes()
    if mapped.nbytes * copies > available // _SHARE:
        message = "data.cache: the images take %.1f GiB of %.1f GiB available memory: they stay on disk"
        log.info(message, mapped.nbytes * copies / 2**30, available / 2**30)
        return mapped
    return np.array(mapped)
