"""Something that may crash, tried in a process of its own."""

from __future__ import annotations

import os
import select
import shutil
import signal
import tempfile
import time
from typing import Callable

TRIAL_S = 30.0
MAX_BYTES = 4096


class Trial:
    """A function that runs in a copy of this process, from now on.

    Args:
        function: returns a text; what it prints is lost.
        limit_s: seconds that it may take.
    """

    def __init__(self, function: Callable[[], str], limit_s: float = TRIAL_S) -> None:
        self.until = time.monotonic() + limit_s
        self.home = tempfile.mkdtemp(prefix="calkd-trial-")
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
