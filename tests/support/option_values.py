"""The values of an option that a sweep runs, from its JSON schema: those it lists, a number, its bounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from option_tables import TOO_LARGE, VALUES

from calkd_edge.records.base import MOST_COUNTED, MOST_EPOCHS

Schema = Mapping[str, Any]

ENDLESS = (MOST_COUNTED, MOST_EPOCHS)
"""Upper bounds that nothing here comes near."""


@dataclass
class Declared:
    """The values of one option.

    Attributes:
        path: in the recipe, or kind[name].setting.
        usual: must run.
        bounds: at the least and the most that the schema allows: run, or are refused by the plan.
    """

    path: str
    usual: list[Any]
    bounds: list[Any] = field(default_factory=list)


def values_of(path: str, about: Schema, default: Any) -> Declared:
    """The values to run of one option, from VALUES or its schema."""
    if path in VALUES:
        usual = list(VALUES[path])
        usual += [one for one in _listed(about) if one not in usual and path.endswith("pretrained")]
        return Declared(path, usual)
    usual = _listed(about)
    number = next((part for part in _parts(about) if part.get("type") in ("number", "integer")), None)
    if number is None:
        assert usual, f"{path}: say in VALUES which values to run"
        return Declared(path, usual)
    bounds = [
        number[key] - (key == "exclusiveMaximum")
        for key in ("minimum", "maximum", *(["exclusiveMaximum"] if number["type"] == "integer" else []))
        if key in number
        and number[key] != default
        and not (key == "maximum" and (path in TOO_LARGE or number[key] in ENDLESS))
    ]
    return Declared(path, [*usual, _another(number, default)], bounds)


def _parts(about: Schema) -> list[Schema]:
    return [about, *about.get("anyOf", ())]


def _listed(about: Schema) -> list[Any]:
    """The values that a schema lists one by one."""
    values: list[Any] = []
    for part in _parts(about):
        values += part.get("enum", [])
        values += [part["const"]] if "const" in part else []
        values += [True, False] if part.get("type") == "boolean" and "const" not in part else []
        if not {"enum", "const", "type", "anyOf"} & part.keys() and isinstance(part.get("default"), bool):
            values += [not part["default"]]  # options of runtimes have defaults alone
    return values


def _another(number: Schema, default: Any) -> Any:
    """A number other than the default, near it, within the bounds."""
    if default is None and number["type"] == "integer":
        default = 40
    start = default if isinstance(default, int | float) else 0
    whole = number["type"] == "integer"
    step = number.get("multipleOf", 1)
    candidates = (start / 2, start * 2, 0.5, start + step, start - step, 2, 20, 40)
    for value in candidates:
        if whole and value != int(value):
            continue
        value = int(value) if whole else float(value)
        above = value > number.get("exclusiveMinimum", float("-inf")) and value >= number.get(
            "minimum", value
        )
        below = value < number.get("exclusiveMaximum", float("inf")) and value <= number.get("maximum", value)
        if above and below and value != start and not (value / step) % 1 * ("multipleOf" in number):
            return value
    raise AssertionError(f"no number for {number}")
