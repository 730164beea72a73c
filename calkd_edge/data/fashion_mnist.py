"""A small Fashion-MNIST: 12,000 training images and all 10,000 test images, part of the package."""

from __future__ import annotations

import hashlib
import lzma
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calkd_edge.data.source import ImageArray, ImageShape, Outline, Progress, Source, balanced
from calkd_edge.errors import StoreError
from calkd_edge.files.machine_limits import naming_limits

ASSET = Path(__file__).with_name("assets") / "fashion_mnist_small.xz"
DIGEST = "f692c6f593d5b1797e2bc70c40997f27fc35c8eb0e50e999d1139ded7da18156"
ARRAYS = ("images", "labels", "test", "position")
PADDING = 2
CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


class FashionMnistSmall:
    """Fashion-MNIST with 1,200 training images per class and all test images; needs no network.

    `assets/make_fashion_mnist_small.py` selects the images and states the rule.

    Args:
        root: not read; the images are part of the package.

    Source: Xiao, Rasul and Vollgraf, "Fashion-MNIST", 2017 (arXiv 1708.07747).
    """

    def __init__(self, root: Path | None) -> None:
        del root

    def identity(self) -> str:
        """The SHA-256 of the arrays in the asset."""
        return f"fashion_mnist_small:sha256:{DIGEST}"

    def size(self) -> tuple[int, ImageShape]:
        """22,000 images of 3x32x32."""
        return 22_000, (3, 32, 32)

    def outline(self) -> Outline:
        """1,200 training and 1,000 test images of each class."""
        return balanced(CLASSES, 1_200, 1_000)

    def open(self, scratch: Path, progress: Progress) -> Source:
        """Training images in their official order, then the test images in theirs.

        Raises:
            StoreError: the asset is missing or damaged.
        """
        arrays = read_asset(ASSET, digest=DIGEST)
        order = np.lexsort((arrays["position"], arrays["test"]))
        images, test, position = (arrays[name][order] for name in ("images", "test", "position"))
        padded = np.pad(images, ((0, 0), (PADDING, PADDING), (PADDING, PADDING)))

        def decode(index: int) -> ImageArray:
            return np.repeat(padded[index][None], 3, axis=0)

        return Source(
            labels=arrays["labels"][order].astype(np.int64),
            official_test=test,
            classes=CLASSES,
            image_shape=(3, 32, 32),
            decode=decode,
            name_of=lambda index: f"{'test' if test[index] else 'train'}/{position[index]}",
            license="MIT, copyright (c) 2017 Zalando SE",
            input_note="28x28 grey, zero-padded by 2 to 32x32, repeated to 3 channels",
            shape_note="1,200 of 6,000 training images a class, all 10,000 test images; official positions",
        )


def read_asset(path: Path, *, digest: str) -> dict[str, NDArray[Any]]:
    """The arrays of an asset, after a check of their digest.

    Args:
        path: an xz stream with one .npy file per name in ARRAYS.
        digest: SHA-256 over name, dtype, shape and bytes of each array.

    Raises:
        StoreError: the file is missing, unreadable, or contains other arrays.
    """
    computed = hashlib.sha256()
    arrays: dict[str, NDArray[Any]] = {}
    try:
        with naming_limits(), lzma.open(path) as stream:
            for name in ARRAYS:
                values = np.lib.format.read_array(stream, allow_pickle=False)
                computed.update(f"{name} {values.dtype.str} {values.shape}\n".encode() + values.tobytes())
                arrays[name] = values
    except (OSError, EOFError, ValueError, lzma.LZMAError) as wrong:
        raise StoreError(f"the packaged file {path.name} cannot be read: {wrong}", remedy=_REMEDY) from wrong
    if computed.hexdigest() != digest:
        raise StoreError(f"the packaged file {path.name} contains the wrong images", remedy=_REMEDY)
    return arrays


_REMEDY = "Install the package again: pip install --force-reinstall --no-deps calkd-edge"
