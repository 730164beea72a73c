"""The base class of records, and the types of their arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, JsonValue

FloatArray = NDArray[np.floating[Any]]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
Json = JsonValue


class Record(BaseModel):
    """A frozen value that refuses unknown keys; its schema describes its JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())
