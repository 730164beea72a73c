"""The command calkd-edge, and python -m calkd_edge: what must hold before the command line is imported."""

from __future__ import annotations

import os
import signal
import sys


def main() -> int:
    """Run a command; returns its exit code."""
    _open_closed_streams()
    is_usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if is_usual:  # an interrupted import would be a traceback; the shell's exit code is 130 all the same
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from calkd_edge.cli import app  # noqa: PLC0415  # interruptible only from here on

    if is_usual:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    return app.main()


def _open_closed_streams() -> None:
    """Give closed standard streams to the null device; the next files would get their numbers, and prints."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(number)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115  # for the process's life


if __name__ == "__main__":
    sys.exit(main())
