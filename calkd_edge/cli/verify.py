"""calkd-edge verify: compare the files of a bundle with its checksums."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from calkd_edge.cli.console import print_result
from calkd_edge.errors import GateFailed


def verify(bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="A bundle.zip.")]) -> None:
    """Compare every file of a bundle with its checksum.

    Exits with 3 if a file was altered, with 2 if there is no such bundle.
    """
    from calkd_edge.release.verification import verify as problems_of

    problems = problems_of(bundle)
    for problem in problems:
        print_result(problem)
    if problems:
        raise GateFailed(
            f"{bundle} differs from its checksums",
            remedy="Download it again, or run compress again to write a new one.",
        )
    print_result(f"{bundle}: every file matches its checksum")
