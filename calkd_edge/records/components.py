"""A registered name with its complete settings: a recipe's choice after its registry has checked it."""

from __future__ import annotations

from pydantic import Field

from calkd_edge.records.base import Json, Record


class Component(Record):
    """A registered name and all its settings, every default filled in."""

    name: str
    settings: dict[str, Json]


class LossComponent(Component):
    """One term of the sum of losses that a student minimises."""

    weight: float = Field(gt=0)
