"""Temporary folders that are removed when their process is gone, however it ended.

Each holds a lock while its process lives. Whoever makes one removes those that nobody holds any more.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
import time
import weakref
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import TracebackType

PREFIX = "calkd-"
LOCK = ".in-use"
YOUNG_S = 60.0
"""A younger folder may not have its lock yet."""


class ScratchFolder:
    """A temporary folder, removed by `close` or, after a kill, by the next process that makes one.

    Args:
        kind: begins its name, after PREFIX.

    Attributes:
        path: of the folder.
        close: removes it.
    """

    def __init__(self, kind: str = "") -> None:
        _sweep_once(Path(tempfile.gettempdir()))
        self.path = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{kind}{'-' if kind else ''}"))
        lock = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        self.close = weakref.finalize(self, _close, self.path, lock)

    def __enter__(self) -> Path:
        return self.path

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _close(folder: Path, lock: int) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    os.close(lock)


@cache
def _sweep_once(root: Path) -> None:
    sweep(root)


def sweep(root: Path) -> None:
    """Remove the folders of this user in `root` whose process is gone."""
    with suppress(OSError):
        for entry in list(os.scandir(root)):
            if entry.name.startswith(PREFIX):
                with suppress(OSError):  # it is being removed, or belongs to somebody else
                    _remove_if_left(Path(entry.path))


def _remove_if_left(folder: Path) -> None:
    facts = folder.lstat()
    is_old = time.time() - facts.st_mtime > YOUNG_S
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid() or not is_old:
        return
    handle = os.open(folder / LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(handle)
