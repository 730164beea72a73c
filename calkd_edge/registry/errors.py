"""Validation errors as sentences: file, dotted path, value, and what to write instead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, to_json

from calkd_edge.errors import RecipeError, did_you_mean

LONGEST_VALUE = 80
"""Characters of a wrong value that a message shows."""

BOUNDS = {
    "less_than": ("lt", "less than {}"),
    "less_than_equal": ("le", "{} or less"),
    "greater_than": ("gt", "more than {}"),
    "greater_than_equal": ("ge", "{} or more"),
}
"""By complaint: the limit's key in it, and how the remedy says it."""

KINDS = {
    "int_type": "Write a whole number, such as 20.",
    "int_from_float": "Write a whole number, such as 20.",
    "float_type": "Write a number without quotes, such as 0.5.",
    "bool_type": "Write true or false.",
    "string_type": "Write text; in quotes where it looks like a number.",
}
"""By complaint: what to write instead of a value of another kind."""

M = TypeVar("M", bound=BaseModel)


def strictly(model: type[M], tree: object) -> M:
    """The record of what a person wrote: no text or boolean passes for a number, and no number for a boolean.

    Args:
        model: of the record.
        tree: plain values; a whole number may stand where a fraction may.

    Raises:
        ValidationError: a wrong key, type or value.
    """
    # As JSON, in which a list may stand for a tuple: strict validation of Python's values refuses that.
    return model.model_validate_json(to_json(tree, inf_nan_mode="constants"), strict=True)


def recipe_error(wrong: ValidationError, *, where: str, valid: Sequence[str]) -> RecipeError:
    """The most telling complaint of a validation, as an error with file, dotted path, value and fix.

    Args:
        wrong: what pydantic raised.
        where: "file" or "file: dotted.path"; the complaint's own path is appended to it.
        valid: the keys that are known at the place of the most telling complaint.
    """
    complaint = most_telling(wrong)
    path = _dotted(complaint["loc"])
    joint = "." if ": " in where and path and not path.startswith("[") else ("" if ": " in where else ": ")
    location = f"{where}{joint}{path}" if path else where
    if complaint["type"] == "extra_forbidden":
        key = str(complaint["loc"][-1])
        return RecipeError(
            f"{location}: unknown key '{key}' (value {_shown(complaint['input'])})",
            remedy=f"{did_you_mean(key, valid)}Valid keys: {', '.join(sorted(valid))}."
            if valid
            else "Remove it: there is nothing to set here.",
        )
    if complaint["type"] == "missing":
        return RecipeError(f"{location}: this key is missing", remedy="Add it.")
    message = complaint["msg"].removeprefix("Value error, ")
    choices = _choices(complaint)
    suggestion = did_you_mean(str(complaint["input"]), choices) if choices else ""
    got = "" if isinstance(complaint["input"], Mapping) else f" (got {_shown(complaint['input'])})"
    return RecipeError(f"{location}: {message}{got}", remedy=f"{suggestion}{_fix(complaint)}")


def most_telling(wrong: ValidationError) -> ErrorDetails:
    """The complaint to show: an unknown key first: a misspelt key is also missing under its right name."""
    complaints = wrong.errors(include_url=False)
    unknown = (complaint for complaint in complaints if complaint["type"] == "extra_forbidden")
    return next(unknown, complaints[0])


def _fix(complaint: ErrorDetails) -> str:
    """What to write instead, by the kind of complaint."""
    limits = complaint.get("ctx", {})
    if complaint["type"] in BOUNDS:
        bound, words = BOUNDS[complaint["type"]]
        return f"Use {words.format(limits[bound])}."
    if complaint["type"] == "literal_error":
        return f"Use one of: {', '.join(_choices(complaint))}."
    return KINDS.get(complaint["type"], "Correct that value.")


def _choices(complaint: ErrorDetails) -> list[str]:
    """The valid values of an enumeration, as pydantic lists them."""
    if complaint["type"] != "literal_error":
        return []
    text = str(complaint["ctx"]["expected"]).replace(" or ", ", ")
    return [part.strip().strip("'") for part in text.split(",")]


def _shown(value: object) -> str:
    if isinstance(value, Mapping):
        return "a mapping"
    text = repr(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}..."


def _dotted(location: tuple[int | str, ...]) -> str:
    text = ""
    for part in location:
        if isinstance(part, str) and part.startswith("<"):  # one of several types of a value: no key
            continue
        text += f"[{part}]" if isinstance(part, int) else (f".{part}" if text else part)
    return text
