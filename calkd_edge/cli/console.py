"""What people read beside results: messages on standard error, and the run's log.

In scope: messages, errors, the log file, and the one `print` of results. Out of scope: what results are.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from calkd_edge.errors import EnvironmentProblem, RecipeError
from calkd_edge.files.visible import visible

if TYPE_CHECKING:
    from rich.console import Console

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


@cache
def screen() -> Console:
    """Standard error as a console; rich is imported with the first message."""
    from calkd_edge.cli.rich_console import VisibleConsole

    return VisibleConsole(stderr=True)


def print_result(text: object) -> None:
    """Print one result on standard output; JSON stays the same JSON."""
    with _to_stdout():
        print(visible(str(text)))


def flush_results() -> None:
    """Hand on what was printed."""
    with _to_stdout():
        sys.stdout.flush()


@contextmanager
def _to_stdout() -> Iterator[None]:
    """Within it, a failure is one of standard output.

    Raises:
        EnvironmentProblem: it cannot be written; a reader that has seen enough is no problem.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as refused:
        raise EnvironmentProblem(
            f"standard output cannot be written: {refused.strerror}",
            remedy="Send it to where there is room, and run the same line again.",
        ) from refused


def say(text: str, *values: object) -> None:
    """Print marked-up text with {} for values, which are printed as they are."""
    from rich.markup import escape

    message = text.format(*(escape(str(value)) for value in values))
    screen().print(message, highlight=False, soft_wrap=True)


def print_error(message: str, fix: str) -> None:
    """Print an error and its fix, one line each; coloured on a terminal."""
    say("[bold red]error:[/bold red] {}", message)
    say("[bold]fix:[/bold] {}", fix)


class _LogLines(logging.Formatter):
    """Lines of the log, without control characters."""

    def format(self, record: logging.LogRecord) -> str:
        """A record as its lines."""
        return visible(super().format(record))


class _Warnings(logging.Handler):
    """Shows each warning of the package once; errors reach the screen as what they lead to."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.shown: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Print a warning that was not printed before."""
        message = record.getMessage()
        if record.levelno == logging.WARNING and message not in self.shown:
            self.shown.add(message)
            say("  [yellow]WARNING: {}[/yellow]", message)


class _Errors(logging.Handler):
    """Keeps the errors that are logged, such as a board's traceback, for commands without a log file."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.setFormatter(_LogLines(LOG_FORMAT))
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep an error's lines."""
        self.lines.append(self.format(record))


_errors = _Errors()


def show_warnings() -> None:
    """Show what the package warns of, and keep its errors, in every command."""
    package = logging.getLogger("calkd_edge")
    if not any(isinstance(handler, _Warnings) for handler in package.handlers):
        package.addHandler(_Warnings())
        package.addHandler(_errors)
    _errors.lines.clear()


def log_to(path: Path) -> None:
    """Send everything that is logged to the run's log.txt, appended.

    Raises:
        RecipeError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = logging.FileHandler(path, encoding="utf-8")
    except OSError as refused:
        raise RecipeError(
            f"--out {path.parent}: {path.name} cannot be written there: {refused.strerror or refused}",
            remedy="Name another folder: --out DIR",
        ) from refused
    logging.raiseExceptions = False  # the disk of the log may be full: then the run's own error is shown
    handler.setFormatter(_LogLines(LOG_FORMAT))
    root = logging.getLogger()
    for previous in _file_handlers():
        root.removeHandler(previous)
    root.addHandler(handler)
    logging.getLogger("calkd_edge").setLevel(logging.INFO)
    logging.captureWarnings(True)


def log_problem(problem: BaseException) -> list[str]:
    """Write a problem with its traceback to the open log files; returns their names.

    Without an open file, the errors that were logged before go to a new one in the system's temporary folder,
    which is named on the screen.
    """
    files = [handler.baseFilename for handler in _file_handlers()]
    if not files and not _errors.lines:
        return []
    logging.getLogger("calkd_edge").error("%s", problem, exc_info=problem)
    return files or _written(_errors.lines)


def _written(lines: list[str]) -> list[str]:
    """A new file of these lines; none where the disk takes none."""
    try:
        handle, name = tempfile.mkstemp(prefix="calkd-edge-", suffix=".log")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
    except OSError:
        return []
    say("[bold]log:[/bold] {}", name)
    return [name]


def _file_handlers() -> list[logging.FileHandler]:
    """The logs that `log_to` opened; other programs' handlers in this process are of subclasses."""
    return [item for item in logging.getLogger().handlers if type(item) is logging.FileHandler]
