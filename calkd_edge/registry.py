"""Names a recipe may use, and the callables they stand for.

In scope: looking a name up, loading it when asked, and checking what a recipe says about it against the
keyword-only part of its signature. Out of scope: what the callables do.

A registered callable follows the star rule: before the `*`, what the program knows; after it, what a recipe
may
say, annotated and defaulted. Own code enters by an entry point (group `calkd_edge.<kind>s`) or a plugin
module.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from calkd_edge.errors import EnvironmentProblem, RecipeError, did_you_mean


class Registry:
    """Names of one kind, each a "module:object" that is imported when it is first asked for.

    Args:
        kind: what an entry is, in the singular: "loss".
        entries: name -> "module:object".
        plural: the word `calkd-edge list` uses; kind + "s" by default.
    """

    def __init__(self, kind: str, entries: Mapping[str, str], *, plural: str | None = None) -> None:
        self.kind = kind
        self.plural = plural or f"{kind}s"
        self._entries = dict(entries)
        self._added: dict[str, Callable[..., Any]] = {}

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __contains__(self, name: object) -> bool:
        return name in self.names()

    def names(self) -> list[str]:
        """Every known name, sorted; nothing is imported."""
        return sorted({*self._entries, *self._added, *(point.name for point in self._points())})

    def add(self, name: str, target: Callable[..., Any]) -> None:
        """Register a callable by hand: what a plugin module calls.

        Raises:
            RecipeError: the name is taken.
        """
        if name in self:
            raise RecipeError(
                f"a {self.kind} named '{name}' exists already", remedy="Give the plugin's entry another name."
            )
        self._added[name] = target

    def load(self, name: str, *, where: str = "") -> Callable[..., Any]:
        """The callable behind a name.

        Args:
            name: a registered name.
            where: file and dotted path of the recipe value, for the message.

        Raises:
            RecipeError: the name is unknown.
            EnvironmentProblem: its module needs a package that is not installed.
        """
        if name not in self:
            raise RecipeError(
                f"{where + ': ' if where else ''}no {self.kind} is named '{name}'",
                remedy=f"{did_you_mean(name, self.names())}Valid: {', '.join(self.names())}. "
                f"List them with: calkd-edge list {self.plural}",
            )
        if name in self._added:
            return self._added[name]
        target = self._entries.get(name) or next(p.value for p in self._points() if p.name == name)
        module, _, attribute = target.partition(":")
        try:
            found: Callable[..., Any] = getattr(import_module(module), attribute)
        except ModuleNotFoundError as missing:
            if missing.name is None or missing.name.startswith("calkd_edge"):
                raise
            raise EnvironmentProblem(
                f"the {self.kind} '{name}' needs the package '{missing.name}', which is not installed",
                remedy=f"Install it: pip install {missing.name}",
            ) from missing
        return found

    def settings(
        self, name: str, given: Mapping[str, Any], *, where: str, beside: Collection[str] = ()
    ) -> dict[str, Any]:
        """What a recipe says about `name`, checked, with every default filled in, as plain JSON values.

        Args:
            name: a registered name.
            given: the recipe's keys for it, without `name`.
            where: "file: dotted.path" for messages.
            beside: keys of the recipe's section that are not this entry's, to be named among the valid ones.

        Raises:
            RecipeError: an unknown key, a wrong type, or a value out of bounds.
        """
        schema = settings_model(self.load(name, where=where))
        try:
            return schema.model_validate(dict(given)).model_dump(mode="json")
        except ValidationError as wrong:
            raise recipe_error(wrong, where=where, valid=[*schema.model_fields, *beside]) from None

    def describe(self, name: str) -> dict[str, Any]:
        """First line of the entry's docstring, its source line, and the JSON schema of its settings."""
        target = self.load(name)
        text = inspect.getdoc(target) or ""
        source = next((line.strip() for line in text.splitlines() if line.strip().startswith("Source:")), "")
        fields = settings_model(target).model_json_schema().get("properties", {})
        return {
            "name": name,
            "summary": text.partition("\n")[0],
            "source": source.removeprefix("Source:").strip(),
            "settings": fields,
        }

    def _points(self) -> list[Any]:
        return list(_entry_points(f"calkd_edge.{self.plural}"))


@cache
def _entry_points(group: str) -> tuple[Any, ...]:
    return tuple(entry_points(group=group))


@cache
def settings_model(target: Callable[..., Any]) -> type[BaseModel]:
    """The keyword-only parameters of a callable as a strict model: its defaults, bounds and help."""
    signature = inspect.signature(target)
    hints = get_type_hints(target.__init__ if inspect.isclass(target) else target, include_extras=True)
    fields: dict[str, Any] = {}
    for parameter in signature.parameters.values():
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
            default = ... if parameter.default is inspect.Parameter.empty else parameter.default
            fields[parameter.name] = (hints[parameter.name], default)
    config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False)
    return create_model(f"{target.__name__}_settings", __config__=config, **fields)


def recipe_error(wrong: ValidationError, *, where: str, valid: list[str]) -> RecipeError:
    """The most telling complaint of a validation as a sentence with file, dotted path, value and mend.

    Args:
        wrong: what pydantic found.
        where: "file" or "file: dotted.path", what the complaint's own path is appended to.
        valid: the keys that are known where the most telling complaint lies.
    """
    complaint = most_telling(wrong)
    path = _dotted(complaint["loc"])
    joint = "." if ": " in where and path and not path.startswith("[") else ("" if ": " in where else ": ")
    place = f"{where}{joint}{path}" if path else where
    if complaint["type"] == "extra_forbidden":
        key = str(complaint["loc"][-1])
        return RecipeError(
            f"{place}: unknown key '{key}' (value {complaint['input']!r})",
            remedy=f"{did_you_mean(key, valid)}Valid keys: {', '.join(sorted(valid))}.",
        )
    if complaint["type"] == "missing":
        return RecipeError(f"{place}: this key is missing", remedy=f"Add it. {complaint['msg']}.")
    message = complaint["msg"].removeprefix("Value error, ")
    return RecipeError(f"{place}: {message} (got {complaint['input']!r})", remedy="Correct that value.")


def most_telling(wrong: ValidationError) -> Mapping[str, Any]:
    """The complaint to show: an unknown key first, since a misspelt key also misses under its right name."""
    complaints = wrong.errors(include_url=False)
    return next((one for one in complaints if one["type"] == "extra_forbidden"), complaints[0])


def _dotted(location: tuple[int | str, ...]) -> str:
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else (f".{part}" if text else part)
    return text
