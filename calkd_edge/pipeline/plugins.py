"""Plugins: modules that register names, and their hashes for the fingerprints."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from pathlib import Path

from calkd_edge.errors import RecipeError
from calkd_edge.files import sha256_of


def load_plugins(modules: Iterable[str]) -> dict[str, str]:
    """Import each module, which registers names by `MODELS.add(...)` and the like; returns SHA-256 by module.

    Raises:
        RecipeError: a module cannot be imported, or has no file.
    """
    hashes = {}
    for name in modules:
        try:
            module = importlib.import_module(name)
        except ImportError as missing:
            raise RecipeError(
                f"--plugin {name}: cannot be imported: {missing}",
                remedy="Install it, or put its folder on PYTHONPATH.",
            ) from missing
        if module.__file__ is None:
            raise RecipeError(
                f"--plugin {name}: has no file", remedy="Name the module, not its package's folder."
            )
        hashes[name] = sha256_of(Path(module.__file__))
    return hashes
