"""New arrays in files, mapped for writing, with all their space allocated."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from calkd_edge.errors import EnvironmentProblem


def new_array(target: Path, shape: tuple[int, ...], dtype: Any = np.uint8) -> Any:
    """A new .npy file, mapped for writing.

    Its space is allocated first: on a full disk, writing to a mapped page would kill the process without a
    message.

    Raises:
        EnvironmentProblem: the disk has no space for it.
    """
    array = np.lib.format.open_memmap(target, mode="w+", dtype=dtype, shape=shape)
    try:
        with target.open("r+b") as stream:
            os.posix_fallocate(stream.fileno(), 0, target.stat().st_size)
    except OSError as wrong:
        target.unlink()
        raise EnvironmentProblem(
            f"{target} needs {array.nbytes / 1e9:.3f} GB, which cannot be allocated: {wrong.strerror}",
            remedy="Free space, use a store on another disk, or lower data.train_images, data.test_images or "
            "evaluate.images.",
        ) from wrong
    return array
