"""What a running agent prints: its progress, whom it waits for, other lines. The last are kept."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import IO

from calkd_edge.agent.board_lock import WAITING
from calkd_edge.agent.progress import PREFIX
from calkd_edge.devices.owner import printable

log = logging.getLogger(__name__)

MOST_LINE_BYTES = 1 << 14
MOST_KEPT_CHARACTERS = 1 << 18


def lines_of(stream: IO[bytes] | None) -> Iterator[bytes]:
    """The lines of a stream as they come; a longer one than MOST_LINE_BYTES comes in pieces."""
    while stream is not None and (line := stream.readline(MOST_LINE_BYTES)):
        yield line


class Printed:
    """The last lines of an output."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque()
        self._length = 0

    def add(self, line: bytes) -> str:
        """Keep a line, and drop the oldest where there are too many; returns its text."""
        text = line.decode("utf-8", "replace")
        self._lines.append(text)
        self._length += len(text)
        while self._length > MOST_KEPT_CHARACTERS:
            self._length -= len(self._lines.popleft())
        return text

    @property
    def text(self) -> str:
        """The kept lines."""
        return "".join(self._lines)


def pass_on(name: str, line: str, progress: Callable[[int, int], None]) -> None:
    """Pass one line on; any other line means nothing.

    Args:
        name: of the device.
        line: as it was printed.
        progress: gets (done, total) in thousandths.
    """
    words = line.split()
    if words[:1] == [WAITING]:
        other = printable(" ".join(words[1:]))
        log.warning("%s: waits for the measurement of %s", name, other)
    elif len(words) == 3 and words[0] == PREFIX:
        with suppress(ValueError, OverflowError):  # an incomplete line is ignored
            progress(round(1000 * float(words[1])), round(1000 * float(words[2])))
