"""A registry: names of one kind, each with a callable that is imported when it is first needed."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypedDict, get_type_hints

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError, create_model

from calkd_edge.errors import EnvironmentProblem, RecipeError, did_you_mean
from calkd_edge.registry.errors import recipe_error, strictly
from calkd_edge.registry.signature import Registered, missing_package, signature_of


class EntryDescription(TypedDict):
    """What `calkd-edge list` shows of a name: summary and source of its docstring, schema of its settings."""

    name: str
    summary: str
    source: str
    settings: dict[str, dict[str, JsonValue]]


class Registry:
    """Names of one kind, each a "module:object" that is imported when it is first needed.

    Args:
        kind: the noun for an entry: "loss".
        entries: name -> "module:object".
        plural: the word that `calkd-edge list` uses; kind + "s" by default.
    """

    def __init__(self, kind: str, entries: Mapping[str, str], *, plural: str | None = None) -> None:
        self.kind = kind
        self.plural = plural or f"{kind}s"
        self._entries = dict(entries)
        self._added: dict[str, Registered] = {}

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __contains__(self, name: object) -> bool:
        return name in self._entries or name in self._added or name in self.names()

    def names(self) -> list[str]:
        """Every known name, sorted; nothing is imported."""
        return sorted({*self._entries, *self._added, *(point.name for point in self._points())})

    def add(self, name: str, target: Registered) -> None:
        """Register a callable; plugin modules call this.

        Raises:
            RecipeError: the name is taken.
        """
        if name in self:
            raise RecipeError(
                f"a {self.kind} named '{name}' exists already", remedy="Give the plugin's entry another name."
            )
        self._added[name] = target

    def load(self, name: str, *, where: str = "") -> Registered:
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
            loaded: Registered = getattr(import_module(module), attribute)
        except ModuleNotFoundError as missing:
            if missing.name is None or missing.name.startswith("calkd_edge"):
                raise
            raise self._package_missing(name, missing.name) from missing
        return loaded

    def settings(
        self, name: str, values: Mapping[str, object], *, where: str, beside: Collection[str] = ()
    ) -> dict[str, JsonValue]:
        """A recipe's settings of `name`, checked, with every default filled in, as plain JSON values.

        Args:
            name: a registered name.
            values: the recipe's keys for it, without `name`.
            where: "file: dotted.path" for messages.
            beside: keys that belong to the recipe's section itself; listed among the valid ones.

        Raises:
            RecipeError: an unknown key, a wrong type, or a value out of bounds.
        """
        schema = settings_model(self._signature(name, where=where))
        try:
            return strictly(schema, dict(values)).model_dump(mode="json")
        except ValidationError as wrong:
            raise recipe_error(wrong, where=where, valid=[*schema.model_fields, *beside]) from None

    def describe(self, name: str) -> EntryDescription:
        """The entry's docstring and settings, read from its source without an import where possible."""
        target = self._signature(name)
        text = inspect.getdoc(target) or ""
        return {
            "name": name,
            "summary": text.partition("\n")[0],
            "source": _source(text),
            "settings": settings_model(target).model_json_schema().get("properties", {}),
        }

    def _signature(self, name: str, *, where: str = "") -> Registered:
        """The callable behind a name, or a function with its keyword-only parameters and its docstring."""
        path = None if name in self._added else self._entries.get(name)
        signature = signature_of(path) if path else None
        if path is None or signature is None:
            return self.load(name, where=where)
        package = missing_package(path)
        if package is not None:
            raise self._package_missing(name, package)
        return signature

    def _package_missing(self, name: str, package: str) -> EnvironmentProblem:
        return EnvironmentProblem(
            f"the {self.kind} '{name}' needs the package '{package}', which is not installed",
            remedy=f"Install it: pip install {package}",
        )

    def _points(self) -> list[EntryPoint]:
        return list(_entry_points(f"calkd_edge.{self.plural}"))


@cache
def _entry_points(group: str) -> tuple[EntryPoint, ...]:
    return tuple(entry_points(group=group))


@cache
def settings_model(target: Registered) -> type[BaseModel]:
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


def _source(docstring: str) -> str:
    """The text after "Source:", up to the end of its paragraph, in one line."""
    _, mark, rest = f"\n{docstring}".partition("\nSource:")
    return " ".join(rest.partition("\n\n")[0].split()) if mark else ""
