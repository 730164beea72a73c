"""A recipe's choices after they were checked: a registered name with its settings, and files of weights."""

from __future__ import annotations

from pydantic import Field

from calkd_edge.records.base import Json, Mean, Record, Std


class Component(Record):
    """A registered name and all its settings, every default filled in."""

    name: str
    settings: dict[str, Json]


class LossComponent(Component):
    """One term of the sum of losses that a student minimises."""

    weight: float = Field(gt=0)


class WeightsFacts(Record):
    """What the model.json beside a weights file says of its network and the recipe does not."""

    classes: tuple[str, ...] | None = None
    mean: tuple[Mean, Mean, Mean] | None = None
    std: tuple[Std, Std, Std] | None = None
