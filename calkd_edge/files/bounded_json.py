"""JSON that others wrote or that may be damaged: bounded in size and depth, refused by one kind of error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

MOST_BYTES = 64 * 2**20
MOST_LEVELS = 100


def parse_json(content: bytes) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: it is not JSON in UTF-8, or has more than MOST_LEVELS levels.
    """
    try:
        value = json.loads(content.decode("utf-8"))
    except RecursionError as deep:
        raise ValueError(f"it has more than {MOST_LEVELS} levels") from deep
    level = [value]
    for _ in range(MOST_LEVELS):
        level = [below for item in level for below in _below(item)]
        if not level:
            return value
    raise ValueError(f"it has more than {MOST_LEVELS} levels")


def read_json(path: Path, *, most_bytes: int = MOST_BYTES) -> Any:
    """The value of a JSON file of at most `most_bytes`.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is larger, is not JSON in UTF-8, or has more than MOST_LEVELS levels.
    """
    with path.open("rb") as stream:
        content = stream.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise ValueError(f"it has more than {most_bytes} bytes")
    return parse_json(content)


def _below(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []
