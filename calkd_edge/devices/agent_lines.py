"""What a running agent prints for the host: its progress, and whom it waits for."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress

from calkd_edge.agent.board_lock import WAITING
from calkd_edge.agent.progress import PREFIX
from calkd_edge.devices.owner import printable

log = logging.getLogger(__name__)


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
