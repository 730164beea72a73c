"""Locks of published folders: shared by those who read one, exclusive for whoever makes or removes it.

They are flocks on files, so the kernel frees them when a process dies. A run keeps its folders until its
release is written (`keeping_folders`). It waits only for what is not published yet, so that no two runs wait
for each other.
"""

from __future__ import annotations

import fcntl
import logging
import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import TypeVar

from calkd_edge.errors import CalkdError, StoreError
from calkd_edge.files.machine_limits import machine_limit

T = TypeVar("T")
log = logging.getLogger(__name__)

POLL_S = 0.05
QUIET_S = 2.0
"""Waiting for so long is normal; after it, a warning names whom it waits for."""

_KEPT: ContextVar[dict[Path, int] | None] = ContextVar("kept locks", default=None)
"""Descriptors of the locks that a run keeps, by path; None outside of `keeping_folders`."""


@contextmanager
def keeping_folders() -> Iterator[None]:
    """Within it, folders stay locked for reading once a stage has made or read them."""
    kept: dict[Path, int] = {}
    token = _KEPT.set(kept)
    try:
        yield
    finally:
        _KEPT.reset(token)
        for handle in kept.values():
            os.close(handle)


@contextmanager
def exclusive(path: Path, what: str) -> Iterator[None]:
    """Hold a lock alone; wait for those who hold it.

    Args:
        path: of the lock file.
        what: it protects, for the warning.

    Raises:
        StoreError: the file cannot be locked.
    """
    handle = _opened(path)
    try:
        _wait(lambda: True if _taken(handle, fcntl.LOCK_EX) else None, path, what)
        yield
    finally:
        _released(handle, path, keep=False)


@contextmanager
def exclusive_now(path: Path) -> Iterator[bool]:
    """Hold a lock alone if nobody else holds it; yields whether it does.

    Raises:
        StoreError: the file cannot be locked.
    """
    handle = _opened(path)
    try:
        try:
            is_free = _taken(handle, fcntl.LOCK_EX)
        except OSError as refused:
            raise _unusable(path, refused) from refused
        yield is_free
    finally:
        _released(handle, path, keep=False)


@contextmanager
def shared(path: Path, what: str) -> Iterator[None]:
    """Hold a lock beside other readers; wait for whoever holds it alone."""
    if path in (_KEPT.get() or {}):
        yield
        return
    handle = _opened(path)
    try:
        _wait(lambda: True if _taken(handle, fcntl.LOCK_SH) else None, path, what)
        yield
    finally:
        _released(handle, path, keep=True)


@contextmanager
def to_read_or_make(path: Path, find: Callable[[], T | None], what: str) -> Iterator[T | None]:
    """Hold a lock beside others if `find` returns something, which is yielded, else alone, to make it."""
    handle = _opened(path)
    made = False

    def attempt() -> tuple[T | None] | None:
        if _taken(handle, fcntl.LOCK_SH):
            found = find()
            if found is not None:
                return (found,)
            fcntl.flock(handle, fcntl.LOCK_UN)
        return (find(),) if _taken(handle, fcntl.LOCK_EX) else None

    try:
        (found,) = _wait(attempt, path, what)
        yield found
        made = True
    finally:
        _released(handle, path, keep=made)


def holders(path: Path) -> str:
    """Who holds a lock, as far as this machine knows."""
    with suppress(OSError, IndexError, ValueError):
        node = path.stat().st_ino
        lines = Path("/proc/locks").read_text(encoding="ascii", errors="replace").splitlines()
        # ORDINAL: FLOCK ADVISORY WRITE PID MAJOR:MINOR:INODE START END
        held = [words for words in map(str.split, lines) if words[1] == "FLOCK"]
        others = {words[4] for words in held if words[5].endswith(f":{node}")} - {str(os.getpid())}
        numbers = sorted(others, key=int)
        if numbers:
            return ", ".join(f"process {number}{_command(number)}" for number in numbers)
    return "another process"


def _command(number: str) -> str:
    try:
        words = Path(f"/proc/{number}/cmdline").read_text(encoding="utf-8", errors="replace").split("\0")
    except OSError:
        return ""
    text = " ".join(words).strip()
    return f" ({ascii(text)[1:-1][:120]})" if text else ""


def _opened(path: Path) -> int:
    kept = _KEPT.get()
    if kept is not None and path in kept:
        return kept.pop(path)
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as refused:
        raise _unusable(path, refused) from refused


def _unusable(path: Path, refused: OSError) -> CalkdError:
    return machine_limit(refused) or StoreError(
        f"the store {path.parent.parent} cannot be used: {path.name[:12]} cannot be locked: "
        f"{refused.strerror or refused}",
        remedy="Make it writable, or choose another folder: --store DIR.",
    )


def _taken(handle: int, how: int) -> bool:
    try:
        fcntl.flock(handle, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _wait(attempt: Callable[[], T | None], path: Path, what: str) -> T:
    """The first result of `attempt` that is not None; it is called again and again."""
    began, is_told = time.monotonic(), False
    while True:
        try:
            result = attempt()
        except OSError as refused:
            raise _unusable(path, refused) from refused
        if result is not None:
            return result
        if not is_told and time.monotonic() - began > QUIET_S:
            is_told = True
            log.warning("%s: waits for %s", what, holders(path))
        time.sleep(POLL_S * random.uniform(0.5, 1.5))


def _released(handle: int, path: Path, *, keep: bool) -> None:
    """Give a lock back, or keep it for reading."""
    kept = _KEPT.get()
    if keep and kept is not None and path not in kept:
        fcntl.flock(handle, fcntl.LOCK_SH)
        kept[path] = handle
    else:
        os.close(handle)
