"""Reading what others wrote: files of a bounded size, JSON of a bounded depth and number of values.

In scope: bounds, and one error for whatever is wrong with the bytes. Out of scope: what the content means.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

from calkd_edge.files.machine_limits import naming_limits

MOST_JSON_BYTES = 64 << 20
MOST_JSON_VALUES = 1_000_000
"""A million values take about 100 MB of memory."""

MOST_JSON_LEVELS = 100

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


class Unreadable(ValueError):
    """What is wrong with the bytes of a file, as it continues "... cannot be read: "."""


def read_bounded(path: Path, most: int = MOST_JSON_BYTES) -> bytes:
    """The content of a file of at most `most` bytes.

    Raises:
        Unreadable: it is larger.
        OSError: it does not exist, or it must not be read.
    """
    with naming_limits(), path.open("rb") as stream:
        content = stream.read(most + 1)
    if len(content) > most:
        raise Unreadable(f"it is larger than {most:,} bytes")
    return content


def bounded_json(content: bytes) -> bytes:
    """A JSON text, if it has at most a million values; for parsers that have no bound of their own.

    Raises:
        Unreadable: it has more.
    """
    if len(content) > MOST_JSON_BYTES or sum(map(content.count, (b",", b"[", b"{"))) > MOST_JSON_VALUES:
        raise Unreadable(f"it has more than {MOST_JSON_VALUES:,} values")
    return content


def parse_json(content: bytes | str) -> object:
    """The value of a JSON text; lists, mappings and numbers are bounded before memory is used for them.

    Raises:
        Unreadable: no JSON, not UTF-8, nested too deeply, or too many values.

    Example:
        >>> parse_json(b'{"a": [1, 2]}')
        {'a': [1, 2]}
        >>> parse_json("[" * 100_000)
        Traceback (most recent call last):
        calkd_edge.files.bounded.Unreadable: it is nested too deeply
    """
    try:
        encoded = content.encode() if isinstance(content, str) else content
        text = bounded_json(encoded).decode("utf-8-sig")
        value: object = json.loads(text)
        _check_depth(value)
        if _SURROGATE.search(text):  # half a character cannot be written again
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise Unreadable("it is nested too deeply") from None
    except UnicodeError as wrong:
        raise Unreadable(f"its text is not UTF-8: {wrong.reason}") from None  # type: ignore[attr-defined]
    except Unreadable:
        raise
    except ValueError as wrong:
        raise Unreadable(f"it is not JSON: {wrong}") from None
    return value


def _check_depth(value: object) -> None:
    level = [value]
    for _ in range(MOST_JSON_LEVELS):
        level = [below for item in level for below in _below(item)]
        if not level:
            return
    raise Unreadable("it is nested too deeply")


def _below(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()
