"""Who measures: the name that another user of the same board reads."""

from __future__ import annotations

import getpass
import re
import socket


def owner() -> str:
    """USER@MACHINE of this process, in letters that any file and terminal takes."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user without a name, as in a container
        user = "someone"
    return re.sub(r"[^A-Za-z0-9_.@-]", "_", f"{user}@{socket.gethostname()}")[:100]


def printable(text: str) -> str:
    """A board's text without what a terminal would obey."""
    return "".join(letter for letter in text if letter.isprintable())
