"""Files that are something else than their name says: what a failed download or checkout leaves behind."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from typing import NamedTuple

READ_BYTES = 512

_LINK = re.compile(r"[\w.@+-]+(/[\w.@+-]+)+\n?")
"""What a copy or a checkout without links leaves in place of one."""


class Recognised(NamedTuple):
    """What a file is, as it continues "... is", and what to do about it."""

    what: str
    remedy: str


def recognised(path: Path) -> Recognised | None:
    """What a file turns out to be, when it is a pointer or a page in place of the file; else None.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "weights.pth"
        >>> _ = path.write_text("version https://git-lfs.github.com/spec/v1\\nsize 46830571\\n")
        >>> recognised(path).what
        'a pointer of Git LFS (the file itself has 46,830,571 bytes)'
    """
    with path.open("rb") as stream:
        start = stream.read(READ_BYTES)
    if not start:
        return Recognised("empty", "Download or copy it again.")
    text = start.lstrip().decode("latin-1")
    if text.startswith("version https://git-lfs"):
        size = next((line[5:] for line in text.splitlines() if line.startswith("size ")), "")
        known = f" (the file itself has {int(size):,} bytes)" if size.isdigit() else ""
        return Recognised(f"a pointer of Git LFS{known}", "Fetch the file: git lfs pull")
    if text.startswith(("/annex/objects/", "../.git/annex/")):
        return Recognised("a pointer of git-annex", "Fetch the file: git annex get")
    if text[:100].lower().startswith(("<!doctype html", "<html", "<head")):
        return Recognised(
            "a web page", "Download the file itself: the address led to a page, such as a login or a warning."
        )
    target = Path(os.path.normpath(path.parent / text.rstrip("\n"))) if _LINK.fullmatch(text) else None
    if target is not None and (text.startswith("../") or target.is_file()):
        return Recognised(
            f"a link that was stored as text, to {text.rstrip()}",
            f"Replace it by that file: cp {shlex.quote(str(target))} {shlex.quote(str(path))}",
        )
    if text.startswith(("<?xml", '{"error', '{"message')):
        return Recognised("an answer of a server", "Download the file again: the server refused it.")
    return None
