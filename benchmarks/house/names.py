"""Counts the six words of a private dialect among the names that the package defines.

    python benchmarks/house/names.py [FOLDER]

A name is what a function, a class, an argument or an assignment defines; a word counts when it is one of the
parts of a snake_case name. Prints one line for each hit, and the number per 1,000 names.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

WORDS = frozenset({"found", "one", "place", "own", "said", "told"})


def defined_names(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and name of everything that a module defines: functions, classes, arguments, assignments."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.lineno, node.name
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id


def counted(folder: Path) -> tuple[int, list[str]]:
    """How many names a folder's modules define, and "file:line: name" for each with one of the words."""
    total, hits = 0, []
    for path in sorted(folder.rglob("*.py")):
        for line, name in defined_names(ast.parse(path.read_text(encoding="utf-8"))):
            total += 1
            if WORDS & set(name.strip("_").split("_")):
                hits.append(f"{path}:{line}: {name}")
    return total, hits


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[2] / "calkd_edge"
    total, hits = counted(folder)
    print("\n".join(hits))
    print(f"{len(hits)} of {total} names: {1000 * len(hits) / total:.1f} per 1,000")


if __name__ == "__main__":
    main()
