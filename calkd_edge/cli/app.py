"""The command line: parses, calls one function for each command, and maps errors to exit codes.

Imports nothing heavy at the top, so that --help answers at once. Only this room prints on the host.
"""

from __future__ import annotations

import errno
import gc
import io
import os
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from calkd_edge.cli.benchmark import benchmark
from calkd_edge.cli.calibrate import calibrate
from calkd_edge.cli.compress import compress
from calkd_edge.cli.console import (
    flush_results,
    log_problem,
    print_error,
    print_result,
    show_warnings,
)
from calkd_edge.cli.doctor import doctor
from calkd_edge.cli.evaluate import evaluate
from calkd_edge.cli.gate import draw, gate
from calkd_edge.cli.help import CONTEXT, PROGRAM, Command, Group
from calkd_edge.cli.lint import lint
from calkd_edge.cli.listing import list_names, schema
from calkd_edge.cli.signals import Ended, end_at_once, ended_by_signals
from calkd_edge.cli.store import store_app
from calkd_edge.cli.verify import verify
from calkd_edge.errors import (
    EXIT_BUG,
    EXIT_INTERRUPTED,
    CalkdError,
    EnvironmentProblem,
    StageFailed,
)
from calkd_edge.files.environment import set_cublas_workspace, set_waiting
from calkd_edge.files.full_disk import Place, full_disk, temporary_place
from calkd_edge.files.visible import visible

app = typer.Typer(
    cls=Group,
    context_settings=CONTEXT,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from calkd_edge import __version__

        print_result(f"{PROGRAM} {__version__}")
        raise typer.Exit


@app.callback()
def calkd_edge(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True),
    ] = False,
) -> None:
    """Distil, quantize and ship image classifiers whose confidences stay true on the device."""


COMMANDS: dict[str, Callable[..., None]] = {
    "compress": compress,
    "benchmark": benchmark,
    "evaluate": evaluate,
    "calibrate": calibrate,
    "lint": lint,
    "doctor": doctor,
    "list": list_names,
    "schema": schema,
    "verify": verify,
    "gate": gate,
    "report": draw,
}
for name, command in COMMANDS.items():
    app.command(name, cls=Command)(command)
app.add_typer(store_app, name="store")

EXIT_BROKEN_PIPE = 141
"""As a shell reports a program that a closed pipe ended."""

REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG, errno.ELOOP, errno.EIO)
"""Errors of the system that no code of ours causes: a path that may not be used, a disk that fails."""

NO_MEMORY = re.compile("failed to map segment|[Cc]annot allocate memory|std::bad_alloc")
"""What loaders and libraries say instead of MemoryError."""

GC_THRESHOLD = 100_000
"""Objects between two garbage collections. Imports create many objects and no garbage: the interpreter's
default would search them again and again while a command starts."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit code. The one place where errors become messages."""
    if arguments is None:
        try:
            return main(sys.argv[1:])
        finally:
            end_at_once()
    words = list(arguments)
    set_waiting()
    set_cublas_workspace()
    gc.set_threshold(GC_THRESHOLD)
    show_warnings()
    if isinstance(sys.stdout, io.TextIOWrapper):  # what its encoding lacks is escaped, as on standard error
        sys.stdout.reconfigure(errors="backslashreplace")
    if not _has_working_folder():  # some libraries end the process then
        print_error("the working directory was removed", "Change to a folder that exists, and run again.")
        return EnvironmentProblem.exit_code
    try:
        with ended_by_signals():
            code = int(app(words, prog_name=PROGRAM, standalone_mode=False) or 0)
            flush_results()
        if code == EXIT_INTERRUPTED:  # the parser's answer to Ctrl-C
            raise KeyboardInterrupt
        return code
    except CalkdError as problem:
        stage = f"stage {problem.stage}: " if isinstance(problem, StageFailed) and problem.stage else ""
        print_error(f"{stage}{problem.message}", problem.remedy)
        log_problem(problem)
        return problem.exit_code
    except Ended as ended:
        print_error(f"ended by {ended.signal.name}", _after_an_end(words))
        return 128 + ended.signal
    except (KeyboardInterrupt, typer.Abort):
        print_error("interrupted", _after_an_end(words))
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        return _broken_pipe()
    except SystemExit as ended:  # the parser's answer to a closed pipe
        if not isinstance(ended.__context__, BrokenPipeError):
            raise
        return _broken_pipe()
    except Exception as problem:
        return _usage_or_bug(problem, words)


def _has_working_folder() -> bool:
    try:
        os.getcwd()
    except OSError:
        return False
    return True


def _broken_pipe() -> int:
    """The exit code where the reader, such as `head`, has seen enough; what is left goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return EXIT_BROKEN_PIPE


def _named_command(words: Sequence[str]) -> str:
    """The command that a line begins with, after a space; nothing if it begins with none."""
    return f" {words[0]}" if words and words[0] in COMMANDS else ""


def _after_an_end(words: Sequence[str]) -> str:
    """What an ended command left: only a run of a recipe keeps what it has done."""
    if words[:1] == ["compress"]:
        return "Run the same line again to continue from the last finished step."
    return "Run the same line again: it starts from the beginning."


def _usage_or_bug(problem: Exception, words: Sequence[str]) -> int:
    if type(problem).__name__ == "NoArgsIsHelpError":  # the parser raises the help text as an error
        sys.stderr.write(visible(f"{problem}\n"))
        return 2
    if hasattr(problem, "format_message") and hasattr(problem, "exit_code"):  # a usage error of the parser
        context = getattr(problem, "ctx", None)
        command = context.command_path if context else f"{PROGRAM}{_named_command(words)}"
        print_error(problem.format_message(), f"See: {command} --help")
        return int(problem.exit_code)
    full = full_disk(problem, [temporary_place(), Place(Path(), "Free space, and run the same line again.")])
    if full is not None:
        print_error(full.message, full.remedy)
        log_problem(problem)
        return full.exit_code
    if isinstance(problem, MemoryError) or NO_MEMORY.search(str(problem)):
        print_error(
            "not enough memory", "Close other programs, raise a limit (ulimit -v), or use a larger machine."
        )
        log_problem(problem)
        return EnvironmentProblem.exit_code
    if isinstance(problem, OSError) and problem.errno in REFUSED and problem.filename is not None:
        print_error(
            f"{problem.filename}: {problem.strerror}", "Check that path, and who may read and write it."
        )
        return EnvironmentProblem.exit_code
    if isinstance(problem, typer.Exit):
        return int(problem.exit_code)
    logs = log_problem(problem)
    where = f"in {logs[0]}" if logs else "below"
    print_error(
        f"{type(problem).__name__}: {problem}",
        f"This is a bug in calkd-edge. Please report it with the traceback {where}.",
    )
    if not logs:
        sys.stderr.write(visible("".join(traceback.format_exception(problem))))
    return EXIT_BUG


if __name__ == "__main__":
    sys.exit(main())
