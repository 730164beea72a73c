"""What people read beside results: sentences on standard error, and the run's log.

In scope: saying, complaining, logging to a file. Out of scope: results, which go to standard output.
"""

from __future__ import annotations

import logging
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


@cache
def screen() -> Console:
    """Standard error as a terminal; rich is loaded only when something is to be said."""
    from rich.console import Console

    return Console(stderr=True)


def say(text: str, *values: object) -> None:
    """Print marked-up text with {} for values, which are taken as they are."""
    from rich.markup import escape

    shown = text.format(*(escape(str(value)) for value in values))
    screen().print(shown, highlight=False, soft_wrap=True)


def complain(message: str, remedy: str) -> None:
    """Say what went wrong and what to do about it."""
    say("[bold red]error[/bold red]  {}", message)
    say("[bold]do this[/bold]  {}", remedy)


def log_to(path: Path) -> None:
    """Send everything that is logged to the run's log.txt, appended."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter(LOG_FORMAT))
    root = logging.getLogger()
    for old in [one for one in root.handlers if isinstance(one, logging.FileHandler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    logging.getLogger("calkd_edge").setLevel(logging.INFO)
    logging.captureWarnings(True)


def log_problem(problem: BaseException) -> list[str]:
    """Write a problem with its traceback to the log files, where there are any; returns their names."""
    files = [one.baseFilename for one in logging.getLogger().handlers if isinstance(one, logging.FileHandler)]
    if files:
        logging.getLogger("calkd_edge").error("%s", problem, exc_info=problem)
    return files
