"""The prepared data that every later stage reads: images in one memory-mapped array, and splits by row."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calkd_edge.data.image_cache import Cache, UnkeptImages, open_images
from calkd_edge.data.source import ImageArray, ImageShape
from calkd_edge.errors import StoreError
from calkd_edge.files.machine_limits import naming_limits
from calkd_edge.records import IntArray

_SUBSET = 0x5B
_CHUNK_IMAGES = 1024


@dataclass(frozen=True, eq=False)
class Prepared:
    """A prepared folder, opened for reading.

    Attributes:
        folder: its path.
        images: uint8 [N, 3, H, W], to be read by rows; memory-mapped by default.
        labels: [N] int64.
        classes: name of each class.
        splits: the content of splits.json.
        notes: the content of classes.json: classes, image_shape, license, input_note, shape_note.
    """

    folder: Path
    images: ImageArray | UnkeptImages
    labels: IntArray
    classes: tuple[str, ...]
    splits: dict[str, Any]
    notes: dict[str, Any]

    @classmethod
    def open(cls, folder: Path, cache: Cache = "disk") -> Prepared:
        """The data in `folder`; images are read later, unless they are cached in memory.

        Args:
            folder: written by `prepare`.
            cache: see `open_images`.

        Raises:
            StoreError: a file is missing or damaged.
        """
        try:
            with naming_limits():
                notes = json.loads((folder / "classes.json").read_text("utf-8"))
                splits = json.loads((folder / "splits.json").read_text("utf-8"))
                images = open_images(folder / "images.npy", cache)
                labels = np.load(folder / "labels.npy", allow_pickle=False)
            return cls(folder, images, labels, tuple(notes["classes"]), splits, notes)
        except PermissionError:
            raise
        except (OSError, ValueError, KeyError) as wrong:
            raise StoreError(
                f"{folder} contains no readable prepared data: {wrong}",
                remedy="Remove the folder and run again.",
            ) from wrong

    @property
    def image_shape(self) -> ImageShape:
        """(3, height, width)."""
        _, channels, height, width = self.images.shape
        return channels, height, width

    @property
    def content(self) -> str:
        """SHA-256 of this data: pixels, labels, class names and splits."""
        return str(self.splits["content_sha256"])

    def indices(self, split: str, limit: int | None = None, seed: int = 0) -> IntArray:
        """Rows of a split, ascending; a seeded random part of them if `limit` is smaller.

        Args:
            split: train, calibration or test.
            limit: maximum number of rows; None for all.
            seed: of the random part; the same arguments give the same rows.
        """
        rows = np.array(self.splits[split], dtype=np.int64)
        if limit is None or limit >= len(rows):
            return rows
        generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, _SUBSET])))
        return np.sort(generator.permutation(rows)[:limit])

    def arrays(
        self, split: str, limit: int | None = None, seed: int = 0
    ) -> tuple[ImageArray, IntArray, IntArray]:
        """Images (uint8 [n, 3, H, W], a contiguous copy), labels and rows of `indices(...)`."""
        rows = self.indices(split, limit, seed)
        return np.ascontiguousarray(self.images[rows]), self.labels[rows], rows

    def mean_std(self, indices: IntArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean and standard deviation of each channel over all pixels of these rows, as fractions of 255.

        They are exact, from integer counts; the images are read in chunks.

        Raises:
            ValueError: there are no rows.
        """
        if len(indices) == 0:
            raise ValueError("the mean of no images does not exist")
        counts = np.zeros((3, 256), dtype=np.int64)
        for start in range(0, len(indices), _CHUNK_IMAGES):
            piece = self.images[indices[start : start + _CHUNK_IMAGES]]
            counts += [np.bincount(piece[:, channel].ravel(), minlength=256) for channel in range(3)]
        values = np.arange(256) / 255
        share = counts / counts.sum(axis=1, keepdims=True)
        mean = share @ values
        return mean, np.sqrt((share * (values - mean[:, None]) ** 2).sum(axis=1))


def trained_in_test(prepared: Prepared) -> int:
    """How many test images are training or calibration images too, pixel by pixel."""
    return len(set(prepared.splits["test"]).intersection(prepared.splits["duplicates"]["test_in_train"]))


def copies_in_test(prepared: Prepared) -> int:
    """How many test images are copies of an earlier test image, pixel by pixel."""
    test = set(prepared.splits["test"])
    shared = (len(test.intersection(group)) for group in prepared.splits["duplicates"]["groups"])
    return sum(max(0, count - 1) for count in shared)
