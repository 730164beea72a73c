"""The memory that this process may still take: of the machine, within the limits of its control groups.

In scope: Linux' own files, control groups of versions 1 and 2. Out of scope: GPUs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

_FILES = {
    "": ("", "memory.max", "memory.current", ""),
    "memory": ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_"),
}
"""By controller, which version 2 does not name: where its groups lie, limit, use, prefix in memory.stat."""


def available_bytes(root: Path = Path("/")) -> int:
    """Bytes of memory available without swapping, as estimated by Linux, within the limit of a container.

    Args:
        root: the folder that holds /proc and /sys.

    Raises:
        OSError: Linux gives no estimate.
    """
    match = re.search(r"^MemAvailable: +(\d+) kB", _text(root / "proc/meminfo"), re.M)
    if match is None:
        raise OSError("/proc/meminfo contains no MemAvailable")
    return min([int(match[1]) * 1024, *_left_by_groups(root)])


def _left_by_groups(root: Path) -> Iterator[int]:
    """What each control group of this process with a limit leaves it; a container or a service has one.

    Cached content of files counts as free: the kernel drops it before it ends a process.
    """
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        controller = "memory" if "memory" in controllers.split(",") else controllers
        if controller not in _FILES:
            continue
        hierarchy, limit_name, use_name, prefix = _FILES[controller]
        top = root / "sys/fs/cgroup" / hierarchy
        group = top / path.lstrip("/")
        for folder in (group, *group.parents):  # a container may see its group as the outermost
            limit, used = _text(folder / limit_name), _text(folder / use_name)
            if limit.strip().isdecimal() and used.strip().isdecimal():
                sums = _text(folder / "memory.stat")
                cached = re.findall(rf"^{prefix}(?:in)?active_file (\d+)$", sums, re.M)
                yield max(0, int(limit) - int(used) + sum(map(int, cached)))
            if folder == top:
                break


def _text(path: Path) -> str:
    """The content of one of the kernel's files; empty where there is none."""
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ""
