"""Collection of a store: remove the published folders that no recipe needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from calkd_edge.engine.collect import collect
from calkd_edge.engine.store import existing_store
from calkd_edge.errors import RecipeError, several
from calkd_edge.files.paths import named_folder
from calkd_edge.pipeline.preparation import plan_stages, prepare_run


@dataclass(frozen=True)
class StoreCollection:
    """The result of a collection.

    Attributes:
        store: its folder.
        removed: number of folders.
        freed_bytes: by that.
        in_use: a sentence for each folder that stays because another process makes or reads it.
    """

    store: Path
    removed: int
    freed_bytes: int
    in_use: tuple[str, ...] = ()


def collect_store(
    keep: Sequence[str | Path],
    *,
    store: str | Path = ".calkd",
    overrides: Sequence[str] = (),
    plugins: Sequence[str] = (),
) -> StoreCollection:
    """Remove every published folder that none of the kept recipes uses.

        collect_store(["quickstart"]).freed_bytes

    The stages of a recipe's smoke variant are kept too, and what earlier runs made of the same student, such
    as its measurements on added devices. Folders that another process makes or reads stay.

    Args:
        keep: recipes, by path or packaged name.
        store: the folder of published stages.
        overrides: assignments `a.b=c` to every kept recipe.
        plugins: modules that register names of the kept recipes.

    Raises:
        RecipeError: the store does not exist, or a recipe is wrong.
        CalkdError: a recipe cannot be planned, so its stages are not known.
    """
    opened = existing_store(named_folder(store, "--store"))
    if not keep:
        raise RecipeError(
            "collect_store: no recipe is kept, which would remove every folder of the store",
            remedy="Name the recipes whose stages stay, or remove the folder of the store yourself.",
        )
    kept: set[str] = set()
    for recipe in several("keep", keep):
        for smoke in (False, True):
            run = prepare_run(recipe, store=store, overrides=overrides, plugins=plugins, smoke=smoke)
            plan, _ = plan_stages(run)
            kept |= {stage.fingerprint for stage in plan.stages}
    collected = collect(opened, kept)
    return StoreCollection(opened.root, collected.removed, collected.freed_bytes, collected.in_use)
