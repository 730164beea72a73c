"""The end that a signal asks for: one exception that passes through everything, and is not lost.

In scope: SIGINT, SIGTERM and SIGHUP as exceptions of the main thread. Out of scope: what is said of them.
"""

from __future__ import annotations

import _imp
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

AGAIN_S = 1.0
"""Seconds between two looks at whether an exception that ends the command is still on its way."""

SOON_S = 0.02
"""The same while a library's compiled module is being loaded."""


class Ended(BaseException):
    """A signal asks the process to end; raised so that temporary folders and sessions are closed."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.signal = signal.Signals(number)


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Within it SIGTERM and SIGHUP raise `Ended`, and SIGINT KeyboardInterrupt, until the block has ended.

    An import or a callback of the interpreter may drop an exception: it is raised again as long as nothing
    is handling it. Where a library raises an error of its own in place of the end, the end is raised after
    all. A compiled module is loaded to its end first: an exception in its midst can crash the interpreter.
    Outside of the main thread nothing changes.
    """
    meant = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGTERM: signal.SIG_DFL,
        signal.SIGHUP: signal.SIG_DFL,
    }
    if threading.current_thread() is not threading.main_thread():
        meant = {}
    previous: dict[int, Any] = {  # nohup ignores one
        number: usual for number, usual in meant.items() if signal.getsignal(number) is usual
    }
    ending: list[BaseException] = []

    def end(number: int, frame: FrameType | None) -> None:
        ending.append(KeyboardInterrupt() if number == signal.SIGINT else Ended(number))
        previous.setdefault(signal.SIGALRM, signal.signal(signal.SIGALRM, look_again))
        raise_last(frame)

    def look_again(number: int, frame: FrameType | None) -> None:
        if not any(_is_handling(exception) for exception in ending):
            raise_last(frame)

    def raise_last(frame: FrameType | None) -> None:
        is_loading = _is_loading(frame)
        signal.setitimer(signal.ITIMER_REAL, SOON_S if is_loading else AGAIN_S, AGAIN_S)
        if not is_loading:
            raise ending[-1]

    for number in list(previous):
        signal.signal(number, end)
    try:
        yield
    except Exception as replacement:  # torch's exporter, for one, raises its own error in place of the end
        if ending:
            raise ending[-1] from replacement
        raise
    finally:
        if ending:
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, usual in previous.items():
            signal.signal(number, usual)


def end_at_once() -> None:
    """From here on SIGINT ends the process without a word: only the exits of libraries are left."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def _is_handling(exception: BaseException) -> bool:
    """Whether some frame handles an exception now, or another one that it led to."""
    handled = sys.exc_info()[1]
    while handled is not None:
        if handled is exception:
            return True
        handled = handled.__context__
    return False


def _is_loading(frame: FrameType | None) -> bool:
    """Whether a compiled module is being loaded there, or something that it imports meanwhile."""
    while frame is not None:
        if frame.f_code.co_name == "_call_with_frames_removed":  # importlib's, around what loads a module
            call = frame.f_locals.get("f")
            if call is _imp.create_dynamic or call is _imp.exec_dynamic:
                return True
        frame = frame.f_back
    return False
