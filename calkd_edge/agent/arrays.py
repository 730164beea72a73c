"""Named arrays as one .npz, on machines whose clock stands in 1970 too."""

from __future__ import annotations

import zipfile
from typing import Iterable, Tuple

import numpy as np

DATE = (1980, 1, 1, 0, 0, 0)
"""The oldest that a zip can name; a board without a battery for its clock is older when it starts."""


def write_arrays(path: str, arrays: Iterable[Tuple[str, np.ndarray]]) -> None:
    """Write (name, array) pairs to `path`; np.savez takes no name that one of its parameters has."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, values in arrays:
            with archive.open(zipfile.ZipInfo(f"{name}.npy", DATE), "w", force_zip64=True) as handle:
                np.lib.format.write_array(handle, np.asanyarray(values), allow_pickle=False)
