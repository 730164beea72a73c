"""The progress of a job, printed for the host as lines on standard output."""

from __future__ import annotations

import sys
import time

PREFIX = "calkd-progress"
EVERY_S = 0.5


class Progress:
    """Prints "calkd-progress DONE TOTAL" at most twice a second, between two pieces of work."""

    def __init__(self) -> None:
        self.next = time.monotonic() + EVERY_S

    def report(self, done: float, total: float) -> None:
        """`done` of `total`, in any unit."""
        now = time.monotonic()
        if now >= self.next:
            self.next = now + EVERY_S
            sys.stdout.write(f"{PREFIX} {done:.3f} {total:.3f}\n")
            sys.stdout.flush()
