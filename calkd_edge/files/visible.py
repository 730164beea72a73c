"""Text of others as it may be shown: characters that steer a terminal or reorder a line become escapes."""

from __future__ import annotations

import re

_STEERING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 but for tab and newline, DEL, C1
    "\u202a-\u202e\u2066-\u2069"  # the order of characters in a line
    "\ud800-\udfff]"  # halves of characters, and bytes of a file name that are no text
)


def visible(text: str) -> str:
    r"""The text, of the same type, with such characters as \u and four digits: JSON reads the character.

    Example:
        >>> visible("node \x1b[2J")
        'node \\u001b[2J'
    """
    if not _STEERING.search(text):
        return text
    return type(text)(_STEERING.sub(lambda found: f"\\u{ord(found[0]):04x}", text))
