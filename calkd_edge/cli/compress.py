"""calkd-edge compress: run a recipe whole."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from calkd_edge.cli.console import log_to, say, screen
from calkd_edge.cli.store import StoreOption

if TYPE_CHECKING:
    from calkd_edge.pipeline.run import Release, Run

JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")]
PluginOption = Annotated[
    list[str] | None, typer.Option("--plugin", help="Module of one's own that registers names.")
]


def compress(
    recipe: Annotated[str, typer.Option("--recipe", help="A recipe file, or the name of a packaged one.")],
    out: Annotated[Path | None, typer.Option("--out", help="Default: runs/<recipe's name>.")] = None,
    store: StoreOption = Path(".calkd"),
    device: Annotated[list[str] | None, typer.Option("--device", help="Add NAME or NAME:RUNTIME.")] = None,
    skip_device: Annotated[
        list[str] | None,
        typer.Option("--skip-device", help="Leave a device out; its gates are unmeasured."),
    ] = None,
    overrides: Annotated[list[str] | None, typer.Option("--set", help="Override a.b=c.")] = None,
    smoke: Annotated[bool, typer.Option("--smoke", help="The same plan with tiny numbers.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and stop.")] = False,
    fresh: Annotated[list[str] | None, typer.Option("--fresh", help="Make this stage anew.")] = None,
    processes: Annotated[int, typer.Option("--processes", min=1, help="For training, under torchrun.")] = 1,
    accelerator: Annotated[str, typer.Option("--accelerator", help="auto, cpu or cuda.")] = "auto",
    allow_undecided: Annotated[
        bool, typer.Option("--allow-undecided", help="Bundle it all the same.")
    ] = False,
    reuse_measurements: Annotated[
        bool, typer.Option("--reuse-measurements", help="Keep latencies older than the recipe allows.")
    ] = False,
    debug_parity: Annotated[
        bool, typer.Option("--debug-parity", help="Hold exported files against torch layer by layer.")
    ] = False,
    plugin: PluginOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run a recipe: teacher, calibration, student, export, int8, scores, gates, report, bundle."""
    from calkd_edge.pipeline.run import prepare_run

    run = prepare_run(
        recipe,
        out=None if out is None else out.resolve(),
        store=store,
        devices=device or (),
        skip_devices=skip_device or (),
        overrides=overrides or (),
        smoke=smoke,
        accelerator=accelerator,
        processes=processes,
        fresh=fresh or (),
        plugins=plugin or (),
        allow_undecided=allow_undecided,
        reuse_measurements=reuse_measurements,
        debug_parity=debug_parity,
    )
    say("recipe {}", run.where)
    if dry_run:
        _show_plan(run, as_json=as_json)
        return
    log_to(run.options.out / "log.txt")
    _finish(_run(run), as_json=as_json)


def _run(run: Run) -> Release:
    from calkd_edge.cli.run_screen import TerminalWatcher
    from calkd_edge.pipeline.run import run_plan

    watcher = TerminalWatcher(screen())
    try:
        return run_plan(run, watcher=watcher, on_message=_tell, on_plan=watcher.planned)
    finally:
        watcher.stop()


def _tell(sentence: str) -> None:
    logging.getLogger("calkd_edge").info(sentence)
    style = "yellow" if sentence.startswith("WARNING") else "dim"
    say(f"  [{style}]{{}}[/{style}]", sentence)


def _show_plan(run: Run, *, as_json: bool) -> None:
    from calkd_edge.cli.run_screen import plan_json, show_plan
    from calkd_edge.engine.store import Store
    from calkd_edge.pipeline.notices import notices
    from calkd_edge.pipeline.run import make_plan

    plan, _ = make_plan(run)
    for sentence in notices(plan.checked, run.options):
        _tell(sentence)
    reused: set[str] = set()
    if run.options.store.is_dir():
        store = Store(run.options.store)
        reused = {stage.fingerprint for stage in plan.stages if store.published(stage) is not None}
    if as_json:
        print(plan_json(plan, reused))
    else:
        show_plan(plan, reused)


def _finish(release: Release, *, as_json: bool) -> None:
    """Show what came of it, and raise what the exit code asks for."""
    from calkd_edge.cli.run_screen import show_report
    from calkd_edge.release.report.report import render_json

    if as_json:
        print(render_json(release.report))
    else:
        show_report(release.report)
    for name in ("report.html", "report.json"):
        say("  {}", release.folder / name)
    if release.bundle is not None:
        say("  {}", release.bundle)
    problem = release.problem
    if problem is not None:
        raise problem
