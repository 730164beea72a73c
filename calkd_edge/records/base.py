"""The base class of records, the types of their arrays, and the most that a person may count up to."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, JsonValue

FloatArray = NDArray[np.floating[Any]]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
Json = JsonValue

MOST_COUNTED = 2**31 - 1
MOST_EPOCHS = 100_000
Count = Annotated[int, Field(le=MOST_COUNTED)]
"""Images, runs, threads: what a recipe counts; beyond it, arithmetic and memory end before the work does."""
Epochs = Annotated[int, Field(le=MOST_EPOCHS)]
"""Epochs of a training."""

SMALLEST_STD = 1.0e-4
Mean = Annotated[float, Field(ge=-1e4, le=1e4)]
"""Of the pixels of a channel, in fractions of 255."""
Std = Annotated[float, Field(ge=SMALLEST_STD, le=1e4)]
"""Likewise; pixels are divided by it."""


class Record(BaseModel):
    """A frozen value that refuses unknown keys; its schema describes its JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())
