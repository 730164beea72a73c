"""The largest anonymous memory of this process while something runs; Linux only."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def rss_anon() -> float:
    """Anonymous memory of this process in MiB; mapped files do not count."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("no RssAnon: this needs Linux")


@contextmanager
def peak_memory() -> Iterator[dict[str, float]]:
    """The largest RssAnon within the block, and what it was before, in MiB; looked at every 10 ms."""
    result = {"before": rss_anon(), "peak": rss_anon()}
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.01):
            result["peak"] = max(result["peak"], rss_anon())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield result
    finally:
        ended.set()
        watcher.join()
