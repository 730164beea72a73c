"""Something that may crash, tried in a process of its own."""

from __future__ import annotations

import os
import select
import shutil
import signal
import stat
import tempfile
import time
from typing import Callable

TRIAL_S = 30.0
MAX_BYTES = 4096
PREFIX = "calkd-trial-"
LEFT_S = 60.0
"""An older folder of a trial has been left by a process that was killed."""


def _remove_left(root: str) -> None:
    """Remove the folders that killed trials of this user left in `root`."""
    try:
        entries = [entry for entry in os.scandir(root) if entry.name.startswith(PREFIX)]
        for entry in entries:
            facts = entry.stat(follow_symlinks=False)
            is_mine = stat.S_ISDIR(facts.st_mode) and facts.st_uid == os.getuid()
            if is_mine and time.time() - facts.st_mtime > LEFT_S:
                shutil.rmtree(entry.path, ignore_errors=True)
    except OSError:  # it is being removed by another process, or may not be read
        return


class Trial:
    """A function that runs in a copy of this process, from now on.

    Args:
        function: returns a text; what it prints is lost.
        limit_s: seconds that it may take.
    """

    def __init__(self, function: Callable[[], str], limit_s: float = TRIAL_S) -> None:
        self.until = time.monotonic() + limit_s
        _remove_left(tempfile.gettempdir())
        self.home = tempfile.mkdtemp(prefix=PREFIX)
        self.reader, writer = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                nothing = os.open(os.devnull, os.O_RDWR)
                for stream in (0, 1, 2):
                    os.dup2(nothing, stream)
                os.environ.update(HOME=self.home, XDG_CACHE_HOME=self.home)  # an import may leave files
                os.write(writer, function().encode("utf-8", "replace")[:MAX_BYTES])
            except BaseException as wrong:  # nothing of the copy may go on
                os.write(writer, f"{type(wrong).__name__}: {wrong}".encode("utf-8", "replace")[:MAX_BYTES])
            finally:
                os._exit(0)
        os.close(writer)

    def result(self) -> str:
        """The function's text, or how its process ended."""
        ready, _, _ = select.select([self.reader], [], [], max(0.0, self.until - time.monotonic()))
        text = os.read(self.reader, MAX_BYTES) if ready else b""
        os.close(self.reader)
        if not ready:
            os.kill(self.pid, signal.SIGKILL)
        _, status = os.waitpid(self.pid, 0)
        shutil.rmtree(self.home, ignore_errors=True)
        if not ready:
            return "it does not answer in time"
        if os.WIFSIGNALED(status):
            name = signal.Signals(os.WTERMSIG(status)).name
            lacks = ": it uses instructions that this processor lacks" if name == "SIGILL" else ""
            return f"its import ends with {name}{lacks}"
        return text.decode("utf-8", "replace")
