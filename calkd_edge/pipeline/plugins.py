"""Plugins: modules that register names, and their hashes for the fingerprints."""

from __future__ import annotations

import importlib
import traceback
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
        if not name.strip():
            raise RecipeError("--plugin: no module is named", remedy="Name one: --plugin MODULE")
        try:
            module = importlib.import_module(name)
        except Exception as wrong:  # whatever the code of a plugin raises
            raise _refusal(name, wrong) from wrong
        if module.__file__ is None:
            raise RecipeError(
                f"--plugin {name}: has no file", remedy="Name the module, not its package's folder."
            )
        hashes[name] = sha256_of(Path(module.__file__))
    return hashes


def _refusal(name: str, wrong: Exception) -> RecipeError:
    """What is wrong with a plugin, and where."""
    if name.endswith(".py") or "/" in name:
        path = Path(name)
        return RecipeError(
            f"--plugin {name}: a module is named, not a file",
            remedy=f"With its folder on PYTHONPATH: PYTHONPATH={path.parent} ... --plugin {path.stem}",
        )
    if isinstance(wrong, ModuleNotFoundError) and wrong.name == name.partition(".")[0]:
        return RecipeError(
            f"--plugin {name}: there is no such module",
            remedy="Install it, or put its folder on PYTHONPATH.",
        )
    if isinstance(wrong, SyntaxError):
        reason, location = wrong.msg, f"{wrong.filename}, line {wrong.lineno}"
    else:
        frame = traceback.extract_tb(wrong.__traceback__)[-1]
        reason, location = str(wrong), f"{frame.filename}, line {frame.lineno}"
    return RecipeError(
        f"--plugin {name}: importing it raised {type(wrong).__name__}: {reason} ({location})",
        remedy=f"Correct the plugin; this command must end without an error: python -c 'import {name}'",
    )
