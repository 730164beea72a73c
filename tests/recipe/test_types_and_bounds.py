"""Every number and boolean of a recipe, from its schema: its type is the only one, and counts have an end."""

from __future__ import annotations

import re
from typing import Any

import pytest
from pydantic import ValidationError
from tiny_run import recipe_with

from calkd_edge.pipeline.listing import REGISTRIES
from calkd_edge.recipe.schema import Recipe
from calkd_edge.registry import strictly


def leaves(about, definitions, path=""):
    """Dotted path and JSON schema of every number and boolean of a schema; of several, each."""
    if "$ref" in about:
        about = definitions[about["$ref"].rpartition("/")[2]]
    for key, below in about.get("properties", {}).items():
        yield from leaves(below, definitions, f"{path}.{key}" if path else key)
    for below in (*about.get("anyOf", ()), *about.get("prefixItems", ())):
        yield from leaves(below, definitions, path)
    if "items" in about:
        yield from leaves(about["items"], definitions, f"{path}[0]")
    if about.get("type") in ("integer", "number", "boolean") and "const" not in about:
        yield path, about


OF_RECIPE = Recipe.model_json_schema()
LEAVES = dict(leaves(OF_RECIPE, OF_RECIPE["$defs"]))
SETTINGS = {
    (kind, name, key): about
    for kind, registry in REGISTRIES.items()
    for name in registry.names()
    for key, about in leaves({"properties": registry.describe(name)["settings"]}, {})
}


@pytest.mark.parametrize("path", LEAVES)
@pytest.mark.parametrize("wrong", [True, "1", "true", [1], {"a": 1}], ids=repr)
def test_value_of_another_type_is_refused_where_a_number_or_a_boolean_is_meant(path, wrong):
    if LEAVES[path]["type"] == "boolean" and wrong is True:
        wrong = 1
    tree: Any = wrong
    for step in reversed(re.split(r"[.\[\]]+", path.rstrip("]"))):
        tree = [tree] if step == "0" else {step: tree}
    with pytest.raises(ValidationError) as refused:
        strictly(Recipe, recipe_with(**tree))
    places = {
        ".".join(str(part) for part in one["loc"] if part not in ("<number>", "<target>"))
        for one in refused.value.errors()
    }
    wanted = path.replace("[", ".").replace("]", "")
    assert any(place == wanted or place.startswith(f"{wanted}.") for place in places), places


def test_every_count_of_a_recipe_and_of_every_setting_has_an_upper_bound():
    counts = {place: about for place, about in {**LEAVES, **SETTINGS}.items() if about["type"] == "integer"}
    assert len(counts) > 30
    assert not [
        place for place, about in counts.items() if not {"maximum", "exclusiveMaximum"} & about.keys()
    ]
