"""What a data set is before it is prepared: known labels, and images that are decoded when asked for."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from calkd_edge.records import BoolArray, IntArray

ImageArray = NDArray[np.uint8]
ImageShape = tuple[int, int, int]
Progress = Callable[[int, int], None]
"""Called with (done, total); total is 0 while it is not known."""


class BrokenImage(Exception):
    """An image that cannot be decoded.

    Args:
        name: the image's name, as `Source.name_of` gives it.
        reason: what is wrong with it, in a few words.
    """

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")
        self.name = name
        self.reason = reason


@dataclass(frozen=True, eq=False)
class Source:
    """A data set whose images are decoded one by one, when asked for.

    Attributes:
        labels: [N] int64.
        official_test: [N], whether an image belongs to the test part its makers published.
        classes: name of each class; a label is a position here.
        image_shape: (3, height, width) of every decoded image.
        decode: position -> uint8 [3, height, width], the caller's own copy; raises BrokenImage; may run in
            threads.
        name_of: position -> what a person calls the image: a relative file name, or "train/123".
        license: under which terms the images may be used.
        input_note: what was done to the pixels before a model sees them; stands in the exported file's
            metadata.
        shape_note: where the images and their parts came from.
        skipped: (name, reason) of files that were found and are no images.
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


class Dataset(Protocol):
    """A data set a recipe can name, built as `SomeDataset(root, *, <what a recipe may say>)`."""

    def __init__(self, root: Path | None, **settings: Any) -> None: ...

    def identity(self) -> str:
        """A string that changes when the data does; holds no place, decodes nothing, downloads nothing."""

    def size(self) -> tuple[int, ImageShape]:
        """How many images there are and their shape, without opening them: enough to foresee the disk."""

    def open(self, scratch: Path, progress: Progress) -> Source:
        """The data set, downloaded first where that is needed."""


def data_root(root: Path | None) -> Path:
    """`root`, else the folder in the environment variable CALKD_DATA, else ~/.cache/calkd-edge/data."""
    if root is not None:
        return root.expanduser()
    place = os.environ.get("CALKD_DATA")
    return Path(place).expanduser() if place else Path.home() / ".cache" / "calkd-edge" / "data"
