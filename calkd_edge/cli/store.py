"""calkd-edge store: check the folder of published stages, and remove what no recipe needs."""

from __future__ import annotations

from typing import Annotated

import typer

from calkd_edge.cli.console import print_result
from calkd_edge.cli.help import Command, Group
from calkd_edge.cli.options import DEFAULT_STORE, OverrideOption, PluginOption, StoreOption
from calkd_edge.errors import GateFailed

store_app = typer.Typer(
    cls=Group,
    help="Check or clean the folder of published stages.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@store_app.command("check", cls=Command)
def store_check(store: StoreOption = DEFAULT_STORE) -> None:
    """Compare every published file with its SHA-256.

    Exits with 3 if one differs.
    """
    from calkd_edge.engine.check import check_store

    result = check_store(store)
    for problem in result.problems:
        print_result(f"{problem.folder}: {problem.message}")
    if result.problems:
        raise GateFailed(
            f"{len(result.problems)} file(s) differ",
            remedy="Remove the folders named above and run the recipe again.",
        )
    print_result(f"{result.folders} published folders, every file matches its SHA-256")


@store_app.command("gc", cls=Command)
def store_gc(
    keep: Annotated[
        list[str],
        typer.Option("--keep", metavar="RECIPE", help="A recipe whose stages are kept. Repeatable."),
    ],
    store: StoreOption = DEFAULT_STORE,
    overrides: OverrideOption = None,
    plugin: PluginOption = None,
) -> None:
    """Remove every published folder that no kept recipe uses.

    What runs of the same student made on added devices is kept too; so is what a process uses now.
    """
    from calkd_edge.pipeline.collection import collect_store

    result = collect_store(keep, store=store, overrides=overrides or (), plugins=plugin or ())
    for sentence in result.in_use:
        print_result(f"in use: {sentence}")
    print_result(f"removed {result.removed} folders, {result.freed_bytes / 2**20:.1f} MiB")
