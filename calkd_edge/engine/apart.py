"""Results and the store keep apart: `store gc` removes what it does not know, a run what it replaces."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from calkd_edge.errors import RecipeError

OWN = ("objects", "work", "locks", "nodes", "format", "journal.jsonl")
"""What a store calls its own."""


def check_apart(out: Path, store: Path, names: Collection[str]) -> None:
    """Refuse results in the store's own folders, and a store where results are written.

    Args:
        out: the folder of results; need not exist.
        store: of the store; need not exist.
        names: of the files and folders that are written into `out`.

    Raises:
        RecipeError: they overlap.
    """
    folder, root = out.resolve(), store.resolve()
    if folder == root or _first(folder, root) in OWN:
        raise RecipeError(
            f"--out {out} is a folder of the store {store}, from which `store gc` would remove the results",
            remedy="Name a folder outside of the store: --out DIR",
        )
    if _first(root, folder) in names:
        raise RecipeError(
            f"--store {store} lies where --out {out} has its own files: {_first(root, folder)}",
            remedy="Name another folder for the store: --store DIR",
        )


def _first(path: Path, folder: Path) -> str:
    """The name in a folder that leads to a path; empty if the path is not below it."""
    return path.relative_to(folder).parts[0] if folder in path.parents else ""
