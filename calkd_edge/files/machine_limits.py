"""Limits of the machine that opening or reading a file meets: no sign that the file is damaged.

In scope: naming the limit. Out of scope: full disks (full_disk.py), permissions.
"""

from __future__ import annotations

import errno
import resource
from collections.abc import Iterator
from contextlib import contextmanager

from calkd_edge.errors import EnvironmentProblem

LIMITS = {
    errno.EMFILE: (
        "this process may open no more files at once (ulimit -n: {open_files})",
        "Allow more and run the same line again: ulimit -n 4096",
    ),
    errno.ENFILE: (
        "the machine may open no more files at once",
        "End other programs, or raise the limit (sysctl fs.file-max), and run the same line again.",
    ),
    errno.ENOMEM: (
        "the machine has no memory left",
        "End other programs, or raise the limit (ulimit -v), and run the same line again.",
    ),
    errno.EIO: (
        "the disk or the network behind it failed: Input/output error",
        "Check the disk (dmesg) or its connection, and run the same line again.",
    ),
}


def machine_limit(failure: OSError) -> EnvironmentProblem | None:
    """The error for a failure that a limit of the machine caused; None for any other failure."""
    limit = LIMITS.get(failure.errno or 0)
    if limit is None:
        return None
    open_files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    file = "" if failure.filename is None else f"{failure.filename} cannot be read: "
    return EnvironmentProblem(f"{file}{limit[0].format(open_files=open_files)}", remedy=limit[1])


@contextmanager
def naming_limits() -> Iterator[None]:
    """Within it, a limit of the machine becomes an error of its own, which nobody takes for a damaged file.

    Raises:
        EnvironmentProblem: too many open files, no memory, a failing disk.
    """
    try:
        yield
    except OSError as failure:
        limit = machine_limit(failure)
        if limit is None:
            raise
        raise limit from failure
