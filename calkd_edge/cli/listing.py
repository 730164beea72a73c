"""calkd-edge list and schema: what a recipe may name, and what its files look like."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from typing import TYPE_CHECKING, Annotated

import typer

from calkd_edge.cli.console import print_result
from calkd_edge.cli.options import JsonOption, complete_kind

if TYPE_CHECKING:
    from calkd_edge.registry import EntryDescription

WIDEST = 120


def list_names(
    kind: Annotated[
        str | None,
        typer.Argument(
            metavar="KIND",
            help="A kind of names, such as losses; without it, the kinds are listed.",
            autocompletion=complete_kind,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List what a recipe may name, with its settings and sources.

    A setting is shown as name=default, or as name=… where it has no default.
    """
    from calkd_edge.pipeline import listing

    entries = listing.list_names(kind)
    if as_json:
        print_result(json.dumps(entries, indent=1))
        return
    width = max((len(entry["name"]) for entry in entries), default=0)
    for entry in entries:
        _print_wrapped(f"{entry['name']:<{width}}  ", entry["summary"])
        for detail in (_settings(entry), entry["source"]):
            if detail:
                _print_wrapped(" " * (width + 4), detail)


def _settings(entry: EntryDescription) -> str:
    """Each setting with its default; one without a default must be set."""
    return ", ".join(
        f"{key}={about['default']}" if "default" in about else f"{key}=…"
        for key, about in entry["settings"].items()
    )


def _print_wrapped(head: str, text: str) -> None:
    """One line in a pipe; on a terminal, as many as its width needs, indented like the first."""
    if not sys.stdout.isatty():
        print_result(f"{head}{text}")
        return
    width = min(shutil.get_terminal_size().columns, WIDEST)
    indent = " " * len(head)
    print_result(
        textwrap.fill(
            text,
            width,
            initial_indent=head,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
    )


def schema(
    kind: Annotated[
        str,
        typer.Argument(
            metavar="KIND",
            help="recipe, report or benchmark.",
            autocompletion=lambda: ["recipe", "report", "benchmark"],
        ),
    ],
) -> None:
    """Print the JSON schema of a recipe or of a result file."""
    from calkd_edge.pipeline import listing

    print_result(json.dumps(listing.schema(kind), indent=1))
