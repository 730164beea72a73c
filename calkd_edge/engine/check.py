"""Check of a store: every published file against its SHA-256."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from calkd_edge.engine.store import existing_store
from calkd_edge.files.paths import named_folder


@dataclass(frozen=True)
class StoreProblem:
    """A published folder and what is wrong with one of its files."""

    folder: Path
    message: str


@dataclass(frozen=True)
class StoreCheck:
    """The result of a check: how many folders are published, and every problem in them."""

    store: Path
    folders: int
    problems: tuple[StoreProblem, ...]


def check_store(store: str | Path = ".calkd") -> StoreCheck:
    """Compare every published file of a store with its SHA-256.

        assert not check_store(".calkd").problems

    Raises:
        RecipeError: the store does not exist.
        StoreError: it was written by a newer calkd-edge.
    """
    opened = existing_store(named_folder(store, "--store"))
    folders = opened.folders()
    problems = [StoreProblem(folder, message) for folder in folders for message in opened.problems(folder)]
    return StoreCheck(opened.root, len(folders), tuple(problems))
