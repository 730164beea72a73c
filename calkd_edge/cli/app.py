"""The command line: parses, calls the pipeline, prints, and maps errors to exit codes.

Imports nothing heavy at the top, so that --help answers at once. The only place on the host that prints.
"""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from calkd_edge.cli.benchmark import benchmark
from calkd_edge.cli.calibrate import calibrate
from calkd_edge.cli.compress import JsonOption, compress
from calkd_edge.cli.console import complain, log_problem
from calkd_edge.cli.doctor import doctor
from calkd_edge.cli.evaluate import evaluate
from calkd_edge.cli.lint import lint
from calkd_edge.cli.store import store_app
from calkd_edge.errors import (
    EXIT_BUG,
    EXIT_INTERRUPTED,
    CalkdError,
    EnvironmentProblem,
    GateFailed,
    RecipeError,
    StageFailed,
)

app = typer.Typer(
    help="Distil, quantize and ship image classifiers whose confidences stay true on the device.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(store_app, name="store")
for command in (compress, benchmark, evaluate, calibrate, lint, doctor):
    app.command()(command)


@app.command("list")
def list_names(
    kind: Annotated[str, typer.Argument(help="models, losses, calibrators, datasets, recipes, devices ...")],
    as_json: JsonOption = False,
) -> None:
    """Everything a recipe may name, with its settings."""
    import json

    from calkd_edge.cli.listing import listed

    entries = listed(kind)
    if as_json:
        print(json.dumps(entries, indent=1))
        return
    width = max((len(entry["name"]) for entry in entries), default=0)
    for entry in entries:
        settings = ", ".join(f"{key}={about.get('default', '…')}" for key, about in entry["settings"].items())
        print(f"{entry['name']:<{width}}  {entry['summary']}")
        for extra in (settings, entry["source"]):
            if extra:
                print(f"{'':<{width}}    {extra}")


@app.command()
def schema(kind: Annotated[str, typer.Argument(help="recipe, report or benchmark.")]) -> None:
    """Print the JSON schema of a recipe, of report.json or of benchmark.json."""
    import json

    from calkd_edge.recipe.schema import Recipe
    from calkd_edge.records import Benchmark, Report

    known: dict[str, Any] = {"recipe": Recipe, "report": Report, "benchmark": Benchmark}
    if kind not in known:
        raise RecipeError(f"there is no schema of '{kind}'", remedy=f"Valid: {', '.join(known)}.")
    print(json.dumps(known[kind].model_json_schema(mode="serialization"), indent=1))


@app.command()
def verify(bundle: Annotated[Path, typer.Argument(help="A bundle.zip.")]) -> None:
    """Hold a bundle against its own checksums."""
    from calkd_edge.release.bundle import verify as problems_of

    problems = problems_of(bundle)
    for problem in problems:
        print(problem)
    if problems:
        raise GateFailed(f"{bundle} is not as it was written", remedy="Fetch it again, or make it anew.")
    print(f"{bundle}: every file is as it was written")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit code. The one place where errors become messages."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    # Read by torch's threads when it is first imported: one that waits spins for microseconds, then sleeps.
    # As fast as OpenMP's own setting alone, and faster beside others (benchmarks/training/busy_machine.json).
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")
    try:
        code = int(app(given, standalone_mode=False) or 0)
        if code == EXIT_INTERRUPTED:  # the parser's own answer to Ctrl-C
            raise KeyboardInterrupt
        return code
    except CalkdError as problem:
        place = f"stage {problem.stage}: " if isinstance(problem, StageFailed) and problem.stage else ""
        complain(f"{place}{problem.message}", problem.remedy)
        log_problem(problem)
        return problem.exit_code
    except (KeyboardInterrupt, typer.Abort):
        complain("interrupted", "Run the same line again to go on from the last finished step.")
        return EXIT_INTERRUPTED
    except Exception as problem:
        return _usage_or_bug(problem)


def _usage_or_bug(problem: Exception) -> int:
    if type(problem).__name__ == "NoArgsIsHelpError":  # no error, though the parser raises it
        sys.stderr.write(f"{problem}\n")
        return 2
    if hasattr(problem, "format_message") and hasattr(problem, "exit_code"):  # a usage error of the parser
        complain(problem.format_message(), "See: calkd-edge --help")
        return int(problem.exit_code)
    if isinstance(problem, OSError) and problem.errno in (errno.ENOSPC, errno.EDQUOT):
        complain(f"the disk is full: {problem}", "Free space and run the same line again: it resumes.")
        return EnvironmentProblem.exit_code
    if isinstance(problem, typer.Exit):
        return int(problem.exit_code)
    logs = log_problem(problem)
    remedy = f"This is a bug of ours; the traceback stands in {logs[0]}." if logs else traceback.format_exc()
    complain(f"{type(problem).__name__}: {problem}", remedy)
    return EXIT_BUG


if __name__ == "__main__":
    sys.exit(main())
