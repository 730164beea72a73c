"""A data set before it is prepared: known labels, and images that are decoded on request."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from calkd_edge.files.paths import user_path
from calkd_edge.records import BoolArray, IntArray

ImageArray = NDArray[np.uint8]
ImageShape = tuple[int, int, int]
Progress = Callable[[int, int], None]
"""Called with (done, total); total is 0 as long as it is unknown."""


class BrokenImage(Exception):
    """An image that cannot be decoded.

    Args:
        name: of the image, from `Source.name_of`.
        reason: short description of the error.
    """

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")
        self.name = name
        self.reason = reason


@dataclass(frozen=True, eq=False)
class Source:
    """A data set whose images are decoded individually on request.

    Attributes:
        labels: [N] int64.
        official_test: [N], whether an image belongs to the published test part.
        classes: name of each class, in the order of the labels.
        image_shape: (3, height, width) of every decoded image.
        decode: position -> uint8 [3, height, width], a copy; raises BrokenImage; may run in threads.
        name_of: position -> name of the image: a relative file name, or "train/123".
        license: terms of use of the images.
        input_note: changes of the pixels before they reach a model; part of the exported file's metadata.
        shape_note: origin of the images and their parts.
        skipped: (name, reason) of files that are not images.
        file_bytes: position -> size of the image's file, from which the time of decoding follows; None where
            images have no files.
    """

    labels: IntArray
    official_test: BoolArray
    classes: tuple[str, ...]
    image_shape: ImageShape
    decode: Callable[[int], ImageArray]
    name_of: Callable[[int], str]
    license: str
    input_note: str
    shape_note: str
    skipped: tuple[tuple[str, str], ...] = ()
    file_bytes: Callable[[int], int] | None = None


@dataclass(frozen=True, eq=False)
class Outline:
    """What is known of a data set before its images are decoded or downloaded.

    Attributes:
        labels: [N] int64; as many of each class as there are, in any order.
        official_test: [N], whether an image belongs to the published test part.
        classes: name of each class, in the order of the labels.
        remarks: sentences about what the files were read as, and what is left out.
        warnings: likewise, where the reader should act.
    """

    labels: IntArray
    official_test: BoolArray
    classes: tuple[str, ...]
    remarks: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def balanced(classes: Sequence[str], train: int, test: int) -> Outline:
    """The outline of a set with as many images of each class: its training part, then its test part."""
    labels = [np.repeat(np.arange(len(classes), dtype=np.int64), count) for count in (train, test)]
    official_test = np.arange(len(classes) * (train + test)) >= len(classes) * train
    return Outline(np.concatenate(labels), official_test, tuple(classes))


@runtime_checkable
class Outlined(Protocol):
    """A data set that knows its labels beforehand; the plan then checks all that depends on counts."""

    def outline(self) -> Outline:
        """Labels, parts and classes, without decoding and without a download."""


class Dataset(Protocol):
    """A data set that a recipe can name, built as `SomeDataset(root, *, <settings of the recipe>)`."""

    def __init__(self, root: Path | None, **settings: object) -> None: ...

    def identity(self) -> str:
        """A string that changes with the data; it contains no path and needs no decoding and no download."""

    def size(self) -> tuple[int, ImageShape]:
        """Number and shape of the images, without opening them: enough to estimate the needed disk."""

    def open(self, scratch: Path, progress: Progress) -> Source:
        """The data set, after a download if it is needed."""


def data_root(root: Path | None) -> Path:
    """`root`, else the folder in the environment variable CALKD_DATA, else ~/.cache/calkd-edge/data."""
    if root is not None:
        return user_path(root, "data.root")
    folder = os.environ.get("CALKD_DATA")
    return user_path(folder, "CALKD_DATA") if folder else Path.home() / ".cache" / "calkd-edge" / "data"
