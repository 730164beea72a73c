"""Names a recipe may use, and the callables they stand for.

In scope: looking a name up, importing it when it is needed, and checking a recipe's settings against the
keyword-only part of its signature. Out of scope: what the callables do.

A registered callable follows the star rule: before the `*`, what the program knows; after it, what a recipe
may set, annotated and defaulted. Plugin code enters by an entry point (group `calkd_edge.<kind>s`) or by a
plugin module.
"""

from calkd_edge.registry.errors import most_telling, recipe_error, strictly
from calkd_edge.registry.registry import EntryDescription, Registry, settings_model

__all__ = ["EntryDescription", "Registry", "most_telling", "recipe_error", "settings_model", "strictly"]
