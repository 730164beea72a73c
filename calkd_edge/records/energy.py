"""Energy of what was measured."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from calkd_edge.records.base import Record


class Energy(Record):
    """Energy of a module's rails in a window: not of the board, and not at the wall."""

    scope: Literal["module rails"] = "module rails"
    rails: tuple[str, ...] = Field(description="those that were added up")
    seconds: float
    joules: float
    mean_w: float
    idle_w: float | None
    net_joules: float | None = Field(description="with idle taken off")
    inferences: int | None
    joules_per_inference: float | None
    net_joules_per_inference: float | None
