"""One timing at a time on a machine, whoever started it."""

from __future__ import annotations

import fcntl
import os
import sys
import tempfile
import time

from calkd_edge.agent.problem import AgentProblem

NAME = "calkd-edge-timing.lock"
WAITING = "calkd-waiting"
WAIT_S, EVERY_S, LOOK_S = 600.0, 10.0, 0.05
MAX_OWNER = 100


class BoardLock:
    """Held while this process times a model; another process that times waits for it.

    The system releases it when the process ends, however it ends. Where no file for it can be opened, nothing
    is locked.

    Args:
        owner: USER@MACHINE that this process works for; others read it while they wait.
        wait_s: seconds to wait for another owner.
    """

    def __init__(self, owner: str, wait_s: float = WAIT_S) -> None:
        self.owner, self.wait_s = owner, wait_s
        self._file = -1

    def __enter__(self) -> BoardLock:
        self._file = _opened(os.path.join(tempfile.gettempdir(), NAME))
        if self._file >= 0:
            self._take()
        return self

    def __exit__(self, *error: object) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _take(self) -> None:
        start = time.monotonic()
        last_line = start - EVERY_S
        while not self._is_free():
            now, other = time.monotonic(), self._other()
            if now - start >= self.wait_s:
                self.__exit__()
                raise AgentProblem(
                    f"{other} measures on this machine, and did so for {self.wait_s:.0f} s",
                    "Wait until that has ended, then run again.",
                )
            if now - last_line >= EVERY_S:
                last_line = now
                sys.stdout.write(f"{WAITING} {other}\n")
                sys.stdout.flush()
            time.sleep(LOOK_S)
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, self.owner.encode("utf-8", "replace")[:MAX_OWNER], 0)

    def _is_free(self) -> bool:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # a file system without locks
            return True
        return True

    def _other(self) -> str:
        text = os.pread(self._file, MAX_OWNER, 0).decode("utf-8", "replace")
        return "".join(letter for letter in text if letter.isprintable()).strip() or "another process"


def _opened(path: str) -> int:
    """A descriptor of the lock's file, which every user may open; -1 where it cannot be."""
    try:
        # Without O_CREAT first: a sticky folder refuses to create what belongs to another user.
        return os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        pass
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        os.fchmod(file, 0o666)
        return file
    except OSError:
        return -1
