"""The image files of a folder: their names, sizes and content."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from calkd_edge.data.folder_layout import LEADS_BACK, SYSTEM_FOLDERS, leads_back, refusing_unreadable
from calkd_edge.data.pixels import image_suffixes

NO_IMAGE = "not an image file that can be read"
PIECE_BYTES = 1 << 20


def content_of(path: Path) -> bytes:
    """SHA-256 of an image file, without content where it cannot be read.

    The whole file counts: a change within a JPEG, PNG or WebP need change neither its ends nor its size.
    """
    digest = hashlib.sha256()
    with suppress(OSError), path.open("rb", buffering=0) as stream:
        while piece := stream.read(PIECE_BYTES):
            digest.update(piece)
    return digest.digest()


def image_files(root: Path, folder: Path, skipped: list[tuple[str, str]]) -> Iterator[tuple[str, int]]:
    """(name relative to root, bytes) of every image below `folder`, at any depth.

    Raises:
        EnvironmentProblem: a folder cannot be read.
    """
    with refusing_unreadable():
        for parent, folders, files in os.walk(folder, followlinks=True, onerror=_unless_of_the_system):
            for name in [*folders, *files]:
                path = Path(parent, name)
                relative = path.relative_to(root).as_posix()
                if name.startswith("."):
                    folders[:] = [kept for kept in folders if kept != name]
                elif name in folders:
                    if leads_back(path, root):
                        skipped.append((relative, LEADS_BACK))
                        folders[:] = [kept for kept in folders if kept != name]
                elif path.suffix.lower() not in image_suffixes():
                    skipped.append((relative, NO_IMAGE))
                elif not path.is_file():
                    skipped.append((relative, "a link to nothing, or a special file"))
                else:
                    yield relative, path.stat().st_size


def _unless_of_the_system(failed: OSError) -> None:
    """Raise the failure to read a folder, unless it is one that an operating system leaves."""
    if Path(str(failed.filename)).name not in SYSTEM_FOLDERS:
        raise failed
