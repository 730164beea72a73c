"""calkd-edge store: look after the folder of published stages."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from calkd_edge.errors import GateFailed

StoreOption = Annotated[Path, typer.Option("--store", help="Folder of published stages.")]

store_app = typer.Typer(help="Look after the folder of published stages.", no_args_is_help=True)


@store_app.command("check")
def store_check(store: StoreOption = Path(".calkd")) -> None:
    """Hold every published file against its SHA-256."""
    from calkd_edge.engine.store import Store

    opened, bad = Store(store), 0
    for place in opened.folders():
        for problem in opened.problems(place):
            print(f"{place}: {problem}")
            bad += 1
    if bad:
        raise GateFailed(f"{bad} file(s) differ", remedy="Remove the folders named above and run again.")
    print(f"{len(opened.folders())} published folders, all as they were written")


@store_app.command("gc")
def store_gc(
    keep: Annotated[
        list[str], typer.Option("--keep", help="A recipe whose stages are kept; may be repeated.")
    ],
    store: StoreOption = Path(".calkd"),
    overrides: Annotated[list[str] | None, typer.Option("--set", help="Override a.b=c.")] = None,
) -> None:
    """Remove every published folder that none of the kept recipes uses."""
    from calkd_edge.engine.store import Store
    from calkd_edge.pipeline.run import make_plan, prepare_run

    kept: set[str] = set()
    for name in keep:
        for smoke in (False, True):
            plan, _ = make_plan(prepare_run(name, store=store, overrides=overrides or (), smoke=smoke))
            kept |= {stage.fingerprint for stage in plan.stages}
    removed, freed = Store(store).collect(kept)
    print(f"removed {removed} folders, {freed / 2**20:.1f} MiB")
