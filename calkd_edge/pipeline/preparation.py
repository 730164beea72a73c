"""From a recipe and options to a checked plan: everything that happens before a stage runs.

In scope: reading, checking, planning; what is known before training is refused here, for `--dry-run` and the
run alike. Out of scope: running.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from calkd_edge.engine.apart import check_apart
from calkd_edge.engine.nodes import check_nodes
from calkd_edge.engine.store import Store
from calkd_edge.errors import (
    RecipeError,
    did_you_mean,
    several,
)
from calkd_edge.files import check_folder
from calkd_edge.files.paths import named_folder
from calkd_edge.pipeline import devices as run_devices
from calkd_edge.pipeline import estimate
from calkd_edge.pipeline.baseline import earlier_release
from calkd_edge.pipeline.checks import check
from calkd_edge.pipeline.data_checks import check_counts, known_images
from calkd_edge.pipeline.network_checks import check_networks
from calkd_edge.pipeline.options import ACCELERATORS, Options
from calkd_edge.pipeline.plan import Planner
from calkd_edge.pipeline.planned import Plan
from calkd_edge.pipeline.plugins import load_plugins
from calkd_edge.pipeline.soft_label_checks import check_soft_labels
from calkd_edge.pipeline.trackers import check_trackers
from calkd_edge.recipe import source
from calkd_edge.recipe.schema import Recipe, load_recipe
from calkd_edge.recipe.smoke import smoke_recipe
from calkd_edge.records import DeviceFacts
from calkd_edge.release.contents import OWN_NAMES


@dataclass(frozen=True)
class Run:
    """A recipe with its options: what `plan` and `compress` start from.

    Attributes:
        recipe: with the devices that were added to it; the smoke variant where one is wanted.
        where: its file, for messages.
        options: where and how it runs.
        rehearsed: the recipe that a smoke run stands for; None in other runs.
    """

    recipe: Recipe
    where: str
    options: Options
    rehearsed: Recipe | None = None


def prepare_run(
    recipe: str | Path | Recipe,
    *,
    out: str | Path | None = None,
    store: str | Path = ".calkd",
    devices: Sequence[str] = (),
    skip_devices: Sequence[str] = (),
    overrides: Sequence[str] = (),
    smoke: bool = False,
    accelerator: str = "auto",
    processes: int = 1,
    nodes: int = 1,
    rendezvous: str | None = None,
    fresh: Sequence[str] = (),
    plugins: Sequence[str] = (),
    allow_undecided: bool = False,
    reuse_measurements: bool = False,
    debug_parity: bool = False,
    baseline: str | Path | None = None,
    trackers: Sequence[str] = (),
) -> Run:
    """A recipe and its options from what a caller names; reads the recipe, contacts nothing.

    Raises:
        RecipeError: the recipe, an override, a plugin or an option is wrong.
    """
    _check_machine(accelerator, processes)
    check_nodes(nodes, rendezvous)
    hashes = load_plugins(several("plugins", plugins))
    if isinstance(recipe, Recipe):
        if overrides:
            raise RecipeError(
                "overrides belong to a recipe's file, but a loaded recipe was given",
                remedy="Give the overrides to load_recipe.",
            )
        loaded, where = recipe, f"recipe {recipe.name}"
    else:
        loaded, where = load_recipe(recipe, several("overrides", overrides)), str(source.find(recipe))
    loaded = run_devices.with_devices(loaded, several("devices", devices))
    rehearsed = loaded if smoke else None
    if smoke:
        loaded = smoke_recipe(loaded, images=known_images(loaded))
    folder = Path("runs") / loaded.name if out is None else named_folder(out, "--out")
    options = Options(
        out=folder,
        store=named_folder(store, "--store"),
        accelerator=accelerator,
        processes=processes,
        nodes=nodes,
        rendezvous=rendezvous,
        fresh=several("fresh", fresh),
        skipped_devices=several("skip_devices", skip_devices),
        target_devices=tuple(run_devices.device_section(text).label for text in devices),
        smoke=smoke,
        allow_undecided=allow_undecided,
        reuse_measurements=reuse_measurements,
        debug_parity=debug_parity,
        plugins=hashes,
        trackers=check_trackers(several("trackers", trackers)),
        earlier=earlier_release(loaded, where, baseline, smoke=smoke, out=folder),
    )
    check_folder(options.out, "--out")
    check_folder(options.store, "--store")
    check_apart(options.out, options.store, OWN_NAMES)
    return Run(loaded, where, options, rehearsed)


def _check_machine(accelerator: str, processes: int) -> None:
    if accelerator not in ACCELERATORS:
        raise RecipeError(
            f"accelerator {accelerator}: not known",
            remedy=f"{did_you_mean(accelerator, ACCELERATORS)}Valid: {', '.join(ACCELERATORS)}.",
        )
    if processes < 1:
        raise RecipeError(f"processes {processes}: not possible", remedy="Use 1 or more.")


def make_plan(run: Run) -> tuple[Plan, dict[str, DeviceFacts]]:
    """The plan of a recipe and the facts of its devices; nothing is run.

    Everything that can be known before training is checked here: `--dry-run` and the run share it.

    Raises:
        CalkdError: the recipe, its data or files, a device or the environment does not allow it.
    """
    plan, facts = plan_stages(run)
    options = run.options
    check_counts(plan.checked, options)
    check_soft_labels(plan.checked)
    reused = published(plan, options)
    check_networks(plan, options.accelerator, options.processes, reused)
    estimate.check_disk(plan, options.store, reused)
    return plan, facts


def plan_stages(run: Run) -> tuple[Plan, dict[str, DeviceFacts]]:
    """The plan of a recipe and the facts of its devices, whether or not this machine can run it.

    Raises:
        CalkdError: the recipe is wrong, or a device cannot be reached.
    """
    recipe, options = run.recipe, run.options
    checked = check(recipe, run.where)
    run_devices.check_skipped(recipe, options.skipped_devices)
    locations = run_devices.located(recipe, options.skipped_devices)
    facts = run_devices.probe(recipe, locations, options.skipped_devices)
    planner = Planner(checked, facts, locations, options.accelerator, options.plugins, options.debug_parity)
    return planner.plan(), facts


def expectation(plan: Plan, options: Options) -> list[str]:
    """How long the plan will take, where something is still to be trained; timed on a few steps."""
    reused = published(plan, options)
    if all(training.stage.fingerprint in reused for training in plan.trainings):
        return []
    return [estimate.sentence(plan, reused, options.accelerator)]


def published(plan: Plan, options: Options) -> set[str]:
    """Fingerprints of the plan's stages that the store has and `--fresh` leaves; no folder is read."""
    doomed = named_fresh(plan, options.fresh)
    if not (options.store / "format").is_file():
        return set()
    store = Store(options.store)
    there = {stage.fingerprint for stage in plan.stages if store.path_of(stage.fingerprint).is_dir()}
    return there - doomed


def named_fresh(plan: Plan, names: Sequence[str]) -> set[str]:
    """Fingerprints of the stages that `--fresh` names, with all that depend on them.

    Raises:
        RecipeError: a name stands for no stage of the plan.
    """
    doomed: set[str] = set()
    for name in names:
        starts = (f"{name}-", f"{name}@")
        chosen = [stage for stage in plan.stages if f"{stage.name}@".startswith(starts)]
        if not chosen:
            known = list(dict.fromkeys(stage.name for stage in plan.stages))
            raise RecipeError(
                f"--fresh {name}: the plan has no such stage",
                remedy=f"{did_you_mean(name, known)}Stages: {', '.join(known)}.",
            )
        doomed |= {stage.fingerprint for stage in chosen}
    doomed |= {
        stage.fingerprint
        for stage in plan.stages
        if any(source.fingerprint in doomed for source in stage.ancestors())
    }
    return doomed
