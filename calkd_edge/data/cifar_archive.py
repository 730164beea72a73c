"""The official CIFAR archives: pickles, read by an unpickler that can only build arrays."""

from __future__ import annotations

import io
import pickle
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from calkd_edge.data.source import ImageArray
from calkd_edge.errors import EnvironmentProblem
from calkd_edge.records import IntArray


@dataclass(frozen=True, eq=False)
class CifarArrays:
    """The contents of an archive.

    Attributes:
        images: [N, 3, 32, 32], training images first.
        labels: [N] int64.
        train_images: number of training images.
        classes: name of each class.
    """

    images: ImageArray
    labels: IntArray
    train_images: int
    classes: tuple[str, ...]


def read_archive(
    archive: Path,
    *,
    folder: str,
    parts: tuple[tuple[str, ...], tuple[str, ...]],
    meta: str,
    names_key: str,
    labels_key: str,
) -> CifarArrays:
    """Images, labels and class names of an official archive; the caller has verified its checksum.

    Args:
        archive: a .tar.gz.
        folder: the folder inside it.
        parts: file names of the training part and of the test part.
        meta: file name of the class names.
        names_key: key of the class names.
        labels_key: key of the labels in the files of `parts`.

    Raises:
        EnvironmentProblem: a member is missing, or contains anything but arrays in plain containers.
    """
    try:
        with tarfile.open(archive, "r:gz") as opened:

            def member(name: str) -> dict[str, Any]:
                stream = opened.extractfile(f"{folder}/{name}")
                if stream is None:
                    raise KeyError(f"{folder}/{name} is not a file")
                content: dict[str, Any] = _ArrayUnpickler(io.BytesIO(stream.read()), encoding="latin1").load()
                return content

            files = [[member(name) for name in part] for part in parts]
            classes = tuple(str(name) for name in member(meta)[names_key])
        pixels = [np.asarray(file["data"], dtype=np.uint8) for part in files for file in part]
        labels = [np.asarray(file[labels_key], dtype=np.int64) for part in files for file in part]
        images = np.concatenate(pixels).reshape(-1, 3, 32, 32)
        return CifarArrays(
            images, np.concatenate(labels), sum(len(file["data"]) for file in files[0]), classes
        )
    except (
        OSError,
        EOFError,
        KeyError,
        TypeError,
        ValueError,
        tarfile.TarError,
        pickle.UnpicklingError,
    ) as wrong:
        raise EnvironmentProblem(
            f"{archive} cannot be read: {wrong}", remedy="Remove it; the next run downloads it again."
        ) from wrong


def _dtype(name: str, align: int, copy: int) -> np.dtype[np.generic]:
    # Python 2 wrote the archives and stored these flags as integers; numpy now requires booleans.
    return np.dtype(name, align=bool(align), copy=bool(copy))


class _ArrayUnpickler(pickle.Unpickler):
    """An unpickler that knows only the three names that a numpy array needs."""

    allowed: dict[tuple[str, str], Callable[..., object]] = {
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): _dtype,
        # numpy's function that rebuilds arrays; taken from an array, because its module moved in numpy 2.
        ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],  # type: ignore[dict-item]
    }

    def find_class(self, module_name: str, global_name: str) -> object:
        """The callable of an allowed name; raises UnpicklingError for any other."""
        if (module_name, global_name) not in self.allowed:
            raise pickle.UnpicklingError(f"it requests {module_name}.{global_name}, which no data needs")
        return self.allowed[module_name, global_name]
