"""An .npz file whose bytes depend on its arrays alone."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

FIRST_DATE = (1980, 1, 1, 0, 0, 0)
"""The date of every member: the earliest that a zip file can have."""


def npz_bytes(arrays: Mapping[str, NDArray[np.generic]], *, deflated: bool = False) -> bytes:
    """The file that `numpy.load` reads, with fixed dates and its members in the order of their names."""
    buffer = io.BytesIO()
    kind = zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED
    with zipfile.ZipFile(buffer, "w", kind) as archive:
        for name in sorted(arrays):
            member = io.BytesIO()
            np.lib.format.write_array(member, np.ascontiguousarray(arrays[name]), allow_pickle=False)
            info = zipfile.ZipInfo(f"{name}.npy", FIRST_DATE)
            info.external_attr, info.create_system = 0o644 << 16, 3
            archive.writestr(info, member.getvalue(), kind)
    return buffer.getvalue()
