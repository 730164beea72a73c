"""What every record is, and the arrays they speak of."""

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
    """A frozen value that refuses unknown keys; its schema is what a reader of its JSON may rely on."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())
