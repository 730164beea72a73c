"""Files for release pipelines: gates as JUnit XML, a summary in Markdown, and which outcome is a failure."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from calkd_edge.cli.options import OUTPUT, choice
from calkd_edge.errors import GateUndecided, RecipeError
from calkd_edge.files import check_folder, write_atomically

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


def check_pipeline_files(junit: Path | None, summary: Path | None) -> None:
    """Refuse files that cannot be written, before the work that they are about.

    Raises:
        RecipeError: a folder is in the way, or the file's folder cannot be written.
    """
    for option, path in (("--junit", junit), ("--summary", summary)):
        if path is not None:
            check_folder(path.parent, option)
            if path.exists() and not path.is_file():
                raise RecipeError(f"{option} {path}: it is no file", remedy=f"Name a file: {option} FILE")


def write_for_pipelines(report: Report, junit: Path | None, summary: Path | None) -> None:
    """Write the gates, and append the summary to what is there."""
    from calkd_edge.release.report import pipelines

    if junit is not None:
        junit.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(junit, pipelines.junit(report).encode())
    if summary is not None:
        summary.parent.mkdir(parents=True, exist_ok=True)
        with summary.open("a", encoding="utf-8") as page:
            page.write(pipelines.markdown(report))


def end_by_verdict(problem: CalkdError | None, fail_on: str) -> None:
    """Raise what sets the exit code; an undecided verdict is no failure where only failed ones are."""
    if problem is not None and not (fail_on == "failed" and isinstance(problem, GateUndecided)):
        raise problem
