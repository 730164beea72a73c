"""calkd-edge verify: compare a release with its checksums, and its models with their golden outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from calkd_edge.cli.console import print_result, say
from calkd_edge.errors import GateFailed

RunOption = Annotated[
    bool,
    typer.Option("--run", help="Execute the models, and compare their answers with the golden outputs."),
]
DeviceOption = Annotated[
    str,
    typer.Option(
        "--device", metavar="NAME", help="Where --run executes them: of your inventory, or user@host."
    ),
]


def verify(
    release: Annotated[
        Path, typer.Argument(metavar="RELEASE", help="A bundle.zip, or the folder of a finished run.")
    ],
    run: RunOption = False,
    device: DeviceOption = "local",
) -> None:
    """Compare every file of a release with its checksum.

    Report, manifest, bundle, folder and the models' own metadata must say the same. With --run, its models
    answer the golden inputs again. Exits with 3 if a file was altered, records contradict each other, or a
    model answers differently; with 2 if there is no such release.
    """
    from calkd_edge.pipeline.verify import verify as problems_of
    from calkd_edge.release.verification import UPGRADE

    problems = problems_of(release, run=run, device=device, on_message=lambda text: say("  {}", text))
    for problem in problems:
        print_result(problem)
    if problems:
        raise GateFailed(
            f"{release} is not as it was released",
            remedy="Upgrade calkd-edge: pip install --upgrade calkd-edge"
            if any(problem.endswith(UPGRADE) for problem in problems)
            else "Download it again, or run compress again to write a new one.",
        )
    answers = ", and every model its golden outputs" if run else ""
    print_result(f"{release}: every file matches its checksum{answers}")
