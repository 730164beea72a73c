"""Caches of images during a training: equal pixels, and the memory that they use."""

from __future__ import annotations

import ctypes
import logging
import mmap
import os

import numpy as np
import pytest

from calkd_edge.data import image_cache
from calkd_edge.data.image_cache import UnkeptImages, open_images


@pytest.fixture
def stored(tmp_path):
    """64 images of 12 KiB, and their file."""
    images = np.random.default_rng(0).integers(0, 256, (64, 3, 64, 64), dtype=np.uint8)
    np.save(tmp_path / "images.npy", images)
    return images, tmp_path / "images.npy"


@pytest.mark.parametrize("cache", ["memory", "disk", "none"])
@pytest.mark.parametrize("rows", [[], [5], [63, 0, 5, 5, 31], [-1, 2]])
def test_every_cache_gives_the_same_pixels(stored, cache, rows):
    images, path = stored
    opened, rows = open_images(path, cache), np.array(rows, dtype=np.int64)
    assert opened.shape == images.shape
    assert (opened[rows] == images[rows]).all()
    assert opened[rows].dtype == np.uint8


def test_images_that_do_not_fit_into_memory_stay_on_disk_with_a_message(stored, monkeypatch, caplog):
    images, path = stored
    assert type(open_images(path, "memory")) is np.ndarray
    monkeypatch.setattr(image_cache, "available_bytes", lambda: 2 * images.nbytes - 1)
    with caplog.at_level(logging.INFO):
        assert isinstance(open_images(path, "memory"), np.memmap)
    assert "they stay on disk" in caplog.text


def pages_in_memory(path) -> float:
    """The share of a file's pages that the system keeps."""
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, mmap.MAP_PRIVATE) as mapped:
        count = -(-len(mapped) // mmap.PAGESIZE)
        result = (ctypes.c_ubyte * count)()
        complete = ctypes.c_char.from_buffer(mapped)
        address = ctypes.c_void_p(ctypes.addressof(complete))
        assert ctypes.CDLL(None).mincore(address, ctypes.c_size_t(len(mapped)), result) == 0
        del complete
        return sum(page & 1 for page in result) / count


def test_unkept_images_leave_nothing_in_memory(stored):
    _, path = stored
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    if pages_in_memory(path) > 0.2:
        pytest.skip("this file system keeps its files in memory")
    rows = np.arange(64)
    UnkeptImages(path)[rows]
    assert pages_in_memory(path) < 0.3
    open_images(path, "disk")[rows]
    assert pages_in_memory(path) > 0.9


def test_memory_counts_the_copies_of_all_processes(stored, monkeypatch):
    images, path = stored
    monkeypatch.setattr(image_cache, "available_bytes", lambda: 5 * images.nbytes)
    assert type(open_images(path, "memory")) is np.ndarray
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    assert isinstance(open_images(path, "memory"), np.memmap)


def test_a_file_that_was_cut_is_an_error(stored):
    _, path = stored
    opened = open_images(path, "none")
    with path.open("r+b") as stream:
        stream.truncate(path.stat().st_size - 100)
    with pytest.raises(OSError, match="ends before row 63"):
        opened[np.array([63])]
