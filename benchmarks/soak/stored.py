"""Rot of published folders: one changed byte of any file of a whole run's store."""

from __future__ import annotations

import random
import shutil
from functools import cache
from pathlib import Path

from whole_runs import Run

from calkd_edge.engine.store import Store


@cache
def files_of(folder: Path) -> tuple[Path, ...]:
    """Every file of every published folder of a finished run, which is made where there is none."""
    root = folder / "store"
    if not (folder / "finished").is_file():
        shutil.rmtree(root, ignore_errors=True)
        if wrong := Run(folder).finish():
            raise RuntimeError(wrong[0])
        (folder / "finished").touch()
    return tuple(sorted(path for path in root.glob("objects/*/*/**/*") if path.is_file()))


def rotten_folder(number: int, folder: Path) -> str:
    """Change one bit of one file; the store must see it, and see nothing when it is changed back."""
    draw = random.Random(f"rot {number}")
    path = draw.choice([path for path in files_of(folder) if path.stat().st_size])
    size = path.stat().st_size
    position, bit = (
        draw.choice((0, size - 1, draw.randrange(size), draw.randrange(size))),
        1 << draw.randrange(8),
    )
    store = Store(folder / "store")
    published = store.root / "objects" / Path(*path.relative_to(store.root / "objects").parts[:2])
    _flip(path, position, bit)
    try:
        problems = store.problems(published)
    finally:
        _flip(path, position, bit)
    if not problems:
        return f"bit {bit} of byte {position} of {path.relative_to(published)} was not noticed"
    left = store.problems(published)
    return f"changed back, and still: {left[0]}" if left else ""


def _flip(path: Path, position: int, bit: int) -> None:
    with path.open("r+b") as handle:
        handle.seek(position)
        (value,) = handle.read(1)
        handle.seek(position)
        handle.write(bytes([value ^ bit]))
