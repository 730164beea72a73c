"""What a published file was when it was published, for whoever has its path alone."""

from __future__ import annotations

import json
from pathlib import Path

from calkd_edge.engine.store import MANIFEST
from calkd_edge.errors import StoreError


def published_sha256(path: Path) -> str:
    """The SHA-256 that a file of a published folder had when it was published.

    Raises:
        StoreError: its folder's manifest is unreadable or does not list it.
    """
    try:
        manifest = json.loads((path.parent / MANIFEST).read_text(encoding="utf-8"))
        return str(manifest["files"][path.name]["sha256"])
    except (OSError, ValueError, LookupError, TypeError) as broken:
        raise StoreError(
            f"the manifest of {path.parent} is damaged: it does not list {path.name}",
            remedy=f"Remove the folder and run again: rm -r {path.parent}",
        ) from broken
