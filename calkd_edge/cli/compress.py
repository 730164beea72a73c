"""calkd-edge compress: run a complete recipe."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from calkd_edge.cli.compress_options import (
    AcceleratorOption,
    AddedDeviceOption,
    DryRunOption,
    FreshOption,
    NodesOption,
    OutOption,
    ParityOption,
    ProcessesOption,
    RecipeArgument,
    RecipeOption,
    RendezvousOption,
    ReuseOption,
    SkipDeviceOption,
    SmokeOption,
    TrackerOption,
    UndecidedOption,
)
from calkd_edge.cli.console import log_to, print_result, say, screen
from calkd_edge.cli.gate import BaselineOption
from calkd_edge.cli.options import (
    DEFAULT_STORE,
    JsonOption,
    OverrideOption,
    PluginOption,
    StoreOption,
)
from calkd_edge.cli.pipeline_files import (
    FailOption,
    JunitOption,
    SummaryOption,
    check_pipeline_files,
    end_by_verdict,
    write_for_pipelines,
)
from calkd_edge.errors import RecipeError

if TYPE_CHECKING:
    from calkd_edge.pipeline.preparation import Run
    from calkd_edge.pipeline.run import Release


def compress(
    recipe_argument: RecipeArgument = None,
    recipe_option: RecipeOption = None,
    overrides: OverrideOption = None,
    plugin: PluginOption = None,
    device: AddedDeviceOption = None,
    skip_device: SkipDeviceOption = None,
    reuse_measurements: ReuseOption = False,
    dry_run: DryRunOption = False,
    smoke: SmokeOption = False,
    fresh: FreshOption = None,
    accelerator: AcceleratorOption = "auto",
    processes: ProcessesOption = 1,
    nodes: NodesOption = 1,
    rendezvous: RendezvousOption = None,
    debug_parity: ParityOption = False,
    out: OutOption = None,
    store: StoreOption = DEFAULT_STORE,
    allow_undecided: UndecidedOption = False,
    baseline: BaselineOption = None,
    trackers: TrackerOption = None,
    junit: JunitOption = None,
    summary: SummaryOption = None,
    fail_on: FailOption = "undecided",
    as_json: JsonOption = False,
) -> None:
    """Run a recipe: train, distil, export, measure, judge.

    The teacher is trained and calibrated, the student learns from it; its files are exported, quantized,
    calibrated, scored and timed; gates judge them. A run that is cut continues when it is started again.
    Exits with 0 if every gate passed, 3 if one failed, 4 if one is undecided, 5 if a device failed.
    """
    from calkd_edge.pipeline.preparation import prepare_run
    from calkd_edge.release.contents import LOG
    from calkd_edge.release.folder import ReleaseFolder

    run = prepare_run(
        _recipe(recipe_argument, recipe_option),
        out=None if out is None else Path(os.path.abspath(out)),
        store=store,
        devices=device or (),
        skip_devices=skip_device or (),
        overrides=overrides or (),
        smoke=smoke,
        accelerator=accelerator,
        processes=processes,
        nodes=nodes,
        rendezvous=rendezvous,
        fresh=fresh or (),
        plugins=plugin or (),
        allow_undecided=allow_undecided,
        reuse_measurements=reuse_measurements,
        debug_parity=debug_parity,
        baseline=baseline,
        trackers=trackers or (),
    )
    say("recipe {}", run.where)
    check_pipeline_files(junit, summary, run=run.options.out)
    ReleaseFolder(run.options.out).check()
    if dry_run:
        _show_plan(run, as_json=as_json)
        return
    log_to(run.options.out / LOG)
    release = _run(run)
    write_for_pipelines(release.report, junit, summary)
    _show_release(release, as_json=as_json, fail_on=fail_on)


def _recipe(argument: str | None, option: str | None) -> str:
    """The recipe, which is named once: as the argument or with --recipe.

    Raises:
        RecipeError: it is named twice, or not at all.
    """
    names = [name for name in (argument, option) if name is not None]
    if len(names) == 1:
        return names[0]
    if names:
        raise RecipeError(
            f"two recipes are named: {argument}, and --recipe {option}",
            remedy=f"Name one: calkd-edge compress {argument}",
        )
    raise RecipeError(
        "no recipe is named",
        remedy="Name a file or a packaged one: calkd-edge compress quickstart (or --recipe quickstart). "
        "List them with: calkd-edge list recipes",
    )


def _run(run: Run) -> Release:
    from calkd_edge.cli.run_screen import TerminalWatcher
    from calkd_edge.pipeline.run import run_plan

    watcher = TerminalWatcher(screen())
    try:
        return run_plan(run, watcher=watcher, on_message=_show_message, on_plan=watcher.planned)
    finally:
        watcher.stop()


def _show_message(sentence: str) -> None:
    logging.getLogger("calkd_edge").info(sentence)
    style = "yellow" if sentence.startswith("WARNING") else "dim"
    say(f"  [{style}]{{}}[/{style}]", sentence)


def _show_plan(run: Run, *, as_json: bool) -> None:
    from calkd_edge.cli.run_screen import plan_json, show_plan
    from calkd_edge.pipeline.notices import notices
    from calkd_edge.pipeline.preparation import expectation, make_plan, published

    plan, _ = make_plan(run)
    for sentence in (*notices(plan.checked, run.options, run.rehearsed), *expectation(plan, run.options)):
        _show_message(sentence)
    reused = published(plan, run.options)
    if not run.options.store.exists() and run.options.store != DEFAULT_STORE:
        say("  The store {} does not exist yet; a run creates it.", run.options.store)
    if as_json:
        print_result(plan_json(plan, reused))
    else:
        show_plan(plan, reused)


def _show_release(release: Release, *, as_json: bool, fail_on: str) -> None:
    """Print the report and its files; raise the problem that sets the exit code."""
    from calkd_edge.cli.run_screen import show_report
    from calkd_edge.release.report.report import render_json

    if as_json:
        print_result(render_json(release.report))
    else:
        show_report(release.report)
    for name in ("report.html", "report.json"):
        say("  {}", release.folder / name)
    if release.bundle is not None:
        say("  {}", release.bundle)
    end_by_verdict(release.problem, fail_on)
