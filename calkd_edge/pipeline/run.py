"""compress(): run every stage of a plan, judge the results, and write report and bundle.

In scope: what is done when, and how failures end. Out of scope: arithmetic, the terminal.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from calkd_edge.engine.runner import PublishedStage, Runner, Watcher
from calkd_edge.engine.stage import Progress, Stage
from calkd_edge.engine.store import Store
from calkd_edge.errors import (
    CalkdError,
    DeviceError,
    GateFailed,
    GateUndecided,
    RecipeError,
    did_you_mean,
    several,
    worst_exit,
)
from calkd_edge.pipeline import devices as run_devices
from calkd_edge.pipeline import estimate
from calkd_edge.pipeline.checks import check
from calkd_edge.pipeline.data_checks import check_counts, findings, known_images
from calkd_edge.pipeline.network_checks import check_networks
from calkd_edge.pipeline.notices import notices
from calkd_edge.pipeline.options import ACCELERATORS, Options
from calkd_edge.pipeline.plan import Planner
from calkd_edge.pipeline.planned import Plan
from calkd_edge.pipeline.plugins import load_plugins
from calkd_edge.pipeline.publish import manifest_facts, write_bundle_if_allowed, write_release
from calkd_edge.recipe import source
from calkd_edge.recipe.schema import Recipe, load_recipe
from calkd_edge.recipe.smoke import smoke_recipe
from calkd_edge.records import DeviceFacts, Report
from calkd_edge.stages.params import ParityParams

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Release:
    """The result of a run.

    Attributes:
        report: everything that was measured and judged.
        folder: where report.html, report.json and models/ are.
        bundle: the zip, None when the verdict allows none.
        device_errors: by device; the gates of these devices are unmeasured.
    """

    report: Report
    folder: Path
    bundle: Path | None
    device_errors: Mapping[str, CalkdError]

    @property
    def problem(self) -> CalkdError | None:
        """The gravest of device errors and verdict, which decides the exit code; None when all is well."""
        problems: list[CalkdError] = list(self.device_errors.values())
        results = [gate.result for gate in self.report.gates]
        if self.report.verdict == "failed":
            broken = results.count("failed") + results.count("unmeasured")
            problems.append(GateFailed(f"{broken} gate(s) did not pass", remedy="See the report; no bundle."))
        elif self.report.verdict == "undecided":
            undecided = f"{results.count('undecided')} gate(s) are undecided"
            problems.append(GateUndecided(undecided, remedy="See the report for what would decide them."))
        gravest = worst_exit(problem.exit_code for problem in problems)
        return next((problem for problem in problems if problem.exit_code == gravest), None)


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
    fresh: Sequence[str] = (),
    plugins: Sequence[str] = (),
    allow_undecided: bool = False,
    reuse_measurements: bool = False,
    debug_parity: bool = False,
) -> Run:
    """A recipe and its options from what a caller names; reads the recipe, contacts nothing.

    Raises:
        RecipeError: the recipe, an override, a plugin or an option is wrong.
    """
    if accelerator not in ACCELERATORS:
        raise RecipeError(
            f"accelerator {accelerator}: not known",
            remedy=f"{did_you_mean(accelerator, ACCELERATORS)}Valid: {', '.join(ACCELERATORS)}.",
        )
    if processes < 1:
        raise RecipeError(f"processes {processes}: not possible", remedy="Use 1 or more.")
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
    options = Options(
        out=Path("runs") / loaded.name if out is None else Path(out),
        store=Path(store),
        accelerator=accelerator,
        processes=processes,
        fresh=several("fresh", fresh),
        skipped_devices=several("skip_devices", skip_devices),
        target_devices=tuple(run_devices.device_section(text).label for text in devices),
        smoke=smoke,
        allow_undecided=allow_undecided,
        reuse_measurements=reuse_measurements,
        debug_parity=debug_parity,
        plugins=hashes,
    )
    return Run(loaded, where, options, rehearsed)


def make_plan(run: Run) -> tuple[Plan, dict[str, DeviceFacts]]:
    """The plan of a recipe and the facts of its devices; nothing is run.

    Everything that can be known before training is checked here: `--dry-run` and the run share it.

    Raises:
        CalkdError: the recipe, its data or files, a device or the environment does not allow it.
    """
    plan, facts = plan_stages(run)
    options = run.options
    check_counts(plan.checked, options)
    reused = published(plan, options)
    check_networks(plan, options.accelerator, reused)
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


def run_plan(
    run: Run,
    *,
    watcher: Watcher | None = None,
    on_message: Callable[[str], None] = log.info,
    on_plan: Callable[[Plan], None] = lambda plan: None,
) -> Release:
    """Run a recipe completely. A failed gate is a value; only the command line turns it into an exit code.

    Args:
        run: recipe and options.
        watcher: called at the start and the end of each stage.
        on_message: called with sentences for the reader.
        on_plan: called with the plan, before anything runs.

    Raises:
        CalkdError: a stage refused, a device is unreachable at the start, or the environment lacks something.
    """
    plan, facts = make_plan(run)
    on_plan(plan)
    options, store = run.options, Store(run.options.store)
    renew(plan, store, options)
    for sentence in (*notices(plan.checked, options, run.rehearsed), *expectation(plan, options)):
        on_message(sentence)
    runner = Runner(store, watcher or _Unwatched(), manifest_facts, options.processes)
    results, errors = run_stages(plan, runner, on_message)
    report = write_release(plan, facts, store, results, errors, options)
    bundle = write_bundle_if_allowed(plan, report, results, options)
    return Release(report, options.out, bundle, errors)


class _Unwatched:
    """A watcher that shows nothing."""

    def started(self, stage: Stage) -> Progress:
        """Ignore the start and the progress."""
        return lambda done, total: None

    def finished(self, stage: Stage, *, reused: bool, seconds: float) -> None:
        """Ignore the end."""


def renew(plan: Plan, store: Store, options: Options) -> None:
    """Remove the stages that `--fresh` names, with all that depend on them, and latencies that are too old.

    Raises:
        RecipeError: `--fresh` names no stage of the plan.
    """
    doomed = named_fresh(plan, options.fresh)
    oldest = datetime.now(timezone.utc) - timedelta(days=plan.checked.recipe.benchmark.max_age_days)
    for stage in plan.stages:
        folder = store.published(stage) if stage.measures and not options.reuse_measurements else None
        if folder is not None and datetime.fromisoformat(store.manifest(folder)["published_at"]) < oldest:
            doomed.add(stage.fingerprint)
    for stage in plan.stages:
        if stage.fingerprint in doomed:
            with store.lock(stage):
                store.discard(stage)


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


def run_stages(
    plan: Plan, runner: Runner, on_message: Callable[[str], None]
) -> tuple[dict[str, PublishedStage], dict[str, CalkdError]]:
    """Run every stage; a device that fails on the way loses only its own rows.

    Returns:
        Results by fingerprint, errors by device.
    """
    results: dict[str, PublishedStage] = {}
    errors: dict[str, CalkdError] = {}
    for stage in plan.stages:
        if any(source.fingerprint not in results for source in stage.inputs.values()):
            continue
        try:
            result = runner.run(stage)
        except DeviceError as failed:
            if stage.resource == plan.checked.recipe.calibrate.on and not stage.measures:
                raise
            errors[stage.resource] = failed
            log.error("%s: %s", stage.name, failed.message)
            continue
        results[stage.fingerprint] = result
        if stage.path == ParityParams.function:
            # Imported here: only runs with --debug-parity have such a stage.
            from calkd_edge.stages import parity

            on_message(parity.sentence(stage.name, result.folder))
        if stage is plan.data:
            for sentence in findings(result.folder):
                on_message(sentence)
    return results, errors
