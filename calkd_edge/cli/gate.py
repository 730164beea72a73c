"""calkd-edge gate: the verdict on a finished release again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from calkd_edge.cli.console import print_result
from calkd_edge.cli.options import OUTPUT, JsonOption
from calkd_edge.cli.pipeline_files import (
    FailOption,
    JunitOption,
    SummaryOption,
    check_pipeline_files,
    end_by_verdict,
    write_for_pipelines,
)

ReleaseArgument = Annotated[
    Path, typer.Argument(metavar="RELEASE", help="The folder of a finished run, or a bundle.zip.")
]
BaselineOption = Annotated[
    str | None,
    typer.Option(
        "--baseline",
        metavar="RELEASE",
        help="Compare with an earlier release: its folder or bundle.zip; none for a first release.",
    ),
]
GatesOption = Annotated[
    str | None,
    typer.Option("--recipe", metavar="RECIPE", help="Take the gates of this recipe instead of its own."),
]


def gate(
    release: ReleaseArgument,
    baseline: BaselineOption = None,
    recipe: GatesOption = None,
    junit: JunitOption = None,
    summary: SummaryOption = None,
    fail_on: FailOption = "undecided",
    as_json: JsonOption = False,
) -> None:
    """Judge a finished release again, without measuring.

    No file of it is changed.

    For other limits (--recipe), or against an earlier release (--baseline). Exits with 0 if every gate
    passed, 3 if one failed, 4 if one is undecided or the release is a smoke run, which decides nothing.
    """
    from calkd_edge.cli.run_screen import show_verdict
    from calkd_edge.pipeline.gate import gate as judge_again
    from calkd_edge.release.judgement import problem_of
    from calkd_edge.release.report.report import render_json

    check_pipeline_files(junit, summary)
    report = judge_again(release, baseline=baseline, recipe=recipe)
    write_for_pipelines(report, junit, summary)
    if as_json:
        print_result(render_json(report))
    else:
        show_verdict(report)
    end_by_verdict(problem_of(report, again=True), fail_on)


def draw(
    release: ReleaseArgument,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FILE", help="The page to write.", rich_help_panel=OUTPUT),
    ] = Path("report.html"),
    baseline: BaselineOption = None,
) -> None:
    """Draw the page of a finished release again.

    It is drawn as this version draws it; the release itself stays as it is. With --baseline, the page
    compares it with an earlier release.
    """
    from calkd_edge.pipeline.report import report

    print_result(str(report(release, output=output, baseline=baseline)))
