"""Files for release pipelines: gates as JUnit XML, a summary in Markdown, and which outcome is a failure."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from calkd_edge.cli.options import OUTPUT, choice
from calkd_edge.errors import GateUndecided, RecipeError

if TYPE_CHECKING:
    from calkd_edge.errors import CalkdError
    from calkd_edge.records import Report

JunitOption = Annotated[
    Path | None,
    typer.Option("--junit", metavar="FILE", help="Write the gates as JUnit XML.", rich_help_panel=OUTPUT),
]
SummaryOption = Annotated[
    Path | None,
    typer.Option(
        "--summary",
        metavar="FILE",
        help="Append a summary in Markdown, as to $GITHUB_STEP_SUMMARY.",
        rich_help_panel=OUTPUT,
    ),
]
FailOption = Annotated[
    str,
    typer.Option(
        "--fail-on",
        metavar="OUTCOME",
        help="undecided: exit 4 for an undecided release; failed: exit 0 for it.",
        rich_help_panel=OUTPUT,
        callback=choice("--fail-on", lambda: ("undecided", "failed")),
    ),
]


def check_pipeline_files(junit: Path | None, summary: Path | None, *, run: Path | None = None) -> None:
    """Refuse files that cannot be written or are a release's, before the work that they are about.

    Args:
        junit: of the gates.
        summary: in Markdown.
        run: the folder that a release is about to be written into.

    Raises:
        RecipeError: see `check_output`; also one file for both.
    """
    from calkd_edge.release.outputs import check_output

    for option, path in (("--junit", junit), ("--summary", summary)):
        if path is not None:
            check_output(path, option, runs=() if run is None else (run,))
    if junit is not None and summary is not None and os.path.realpath(junit) == os.path.realpath(summary):
        raise RecipeError(
            f"--summary {summary}: it is the file of --junit too", remedy="Name another file: --summary FILE"
        )


def write_for_pipelines(report: Report, junit: Path | None, summary: Path | None) -> None:
    """Write the gates, and append the summary to what is there."""
    from calkd_edge.release.outputs import write_output
    from calkd_edge.release.report import pipelines

    if junit is not None:
        write_output(junit, "--junit", pipelines.junit(report))
    if summary is not None:
        write_output(summary, "--summary", pipelines.markdown(report), append=True)


def end_by_verdict(problem: CalkdError | None, fail_on: str) -> None:
    """Raise what sets the exit code; an undecided verdict is no failure where only failed ones are."""
    if problem is not None and not (fail_on == "failed" and isinstance(problem, GateUndecided)):
        raise problem
