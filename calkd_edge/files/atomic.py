"""Files appear complete or not at all: written beside their target, synced, renamed."""

from __future__ import annotations

import errno
import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from calkd_edge.errors import RecipeError

MARK = ".calkd-"
"""In the name of a file that is being written: .TARGET.calkd-RANDOM. Its writer holds a lock on it."""


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A temporary path in the same folder that becomes `target` when the block ends without an error.

    What a killed process left of an earlier attempt is removed.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    _sweep(target)
    handle, temporary = _begin(target)
    try:
        yield temporary
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o644)
        temporary.replace(target)
        sync(target.parent)
    finally:
        temporary.unlink(missing_ok=True)
        os.close(handle)


def _begin(target: Path) -> tuple[int, Path]:
    """A new file beside a target, and the handle that holds its lock."""
    while True:
        handle, name = tempfile.mkstemp(prefix=f".{target.name}{MARK}", dir=target.parent)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # another process took it for a left one, and removes it
            os.close(handle)
            continue
        except OSError:  # a file system without locks: nobody removes it there
            return handle, Path(name)
        if os.path.exists(name):
            return handle, Path(name)
        os.close(handle)


def _sweep(target: Path) -> None:
    """Remove the files beside a target whose writer is gone."""
    try:
        names = [name for name in os.listdir(target.parent) if name.startswith(f".{target.name}{MARK}")]
    except OSError:  # a folder that may be written and not read
        return
    for path in (target.parent / name for name in names):
        with suppress(OSError):  # its writer lives, or another process removed it
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
            finally:
                os.close(handle)


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` to `path` so that the file exists complete or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def sync(path: Path) -> None:
    """Wait until a file's content, or the names in a folder, would survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def nearest_existing(folder: Path) -> Path:
    """The folder itself if it exists, else the nearest of its parents that does."""
    return next(path for path in (folder, *folder.absolute().parents) if path.exists())


def check_folder(folder: Path, option: str, *, is_of_file: bool = False) -> None:
    """Refuse a folder for results that cannot be made or written, before the work that fills it.

    Args:
        folder: need not exist; nothing is left there.
        option: that names it, for the message.
        is_of_file: whether the option names a file in it instead.

    Raises:
        RecipeError: a file is in the way, or the folder is read-only.
    """
    wanted = ("a file in another folder", "FILE") if is_of_file else ("another folder", "DIR")
    remedy = f"Name {wanted[0]}: {option} {wanted[1]}"
    try:
        existing = nearest_existing(folder)
        leads_nowhere = next((path for path in (folder, *folder.parents) if path.is_symlink()), None)
    except OSError as wrong:
        raise RecipeError(f"{option} {folder}: {wrong.strerror or wrong}", remedy=remedy) from wrong
    if leads_nowhere is not None and not leads_nowhere.exists():
        raise RecipeError(f"{option} {folder}: {leads_nowhere} is a link that leads nowhere", remedy=remedy)
    if not existing.is_dir():
        raise RecipeError(f"{option} {folder}: {existing} is a file", remedy=remedy)
    if not os.access(existing, os.W_OK | os.X_OK) or not _takes_files(existing):
        raise RecipeError(f"{option} {folder}: {existing} cannot be written", remedy=remedy)


def _takes_files(folder: Path) -> bool:
    """Whether a file can be made there: in /proc and /sys the permissions promise it, and none can."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError as wrong:  # a full disk has a sentence of its own
        return wrong.errno in (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE)
