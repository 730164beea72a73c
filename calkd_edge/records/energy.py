"""Energy during a measurement."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from calkd_edge.records.base import Record


class Energy(Record):
    """Energy of a module's rails in a window: neither of the whole board nor at the socket."""

    scope: Literal["module rails"] = "module rails"
    rails: tuple[str, ...] = Field(description="the rails in the sum")
    seconds: float
    joules: float
    mean_w: float
    idle_w: float | None
    net_joules: float | None = Field(description="without idle power")
    inferences: int | None
    joules_per_inference: float | None
    net_joules_per_inference: float | None
