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
    from calkd_edge.pipeline import run as pipeline
    from calkd_edge.pipeline.options import Options
    from calkd_edge.recipe import source as recipe_text
    from calkd_edge.recipe.schema import load_recipe
    from calkd_edge.recipe.smoke import smoke as smoke_variant

    kept: set[str] = set()
    for name in keep:
        loaded, where = load_recipe(name, overrides or ()), str(recipe_text.find(name))
        for recipe in (loaded, smoke_variant(loaded)):
            plan, _ = pipeline.make_plan(recipe, where, Options(out=Path("."), store=store))
            kept |= {stage.fingerprint for stage in plan.stages}
    removed, freed = Store(store).collect(kept)
    print(f"removed {removed} folders, {freed / 2**20:.1f} MiB")
