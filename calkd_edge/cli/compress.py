"""calkd-edge compress: run a recipe whole."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from calkd_edge.cli.console import log_to, say, screen
from calkd_edge.cli.store import StoreOption
from calkd_edge.errors import RecipeError

if TYPE_CHECKING:
    from calkd_edge.pipeline.options import Options
    from calkd_edge.pipeline.run import Release
    from calkd_edge.recipe.schema import Recipe

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
    from calkd_edge.pipeline import devices as run_devices
    from calkd_edge.pipeline.options import Options
    from calkd_edge.pipeline.plugins import load_plugins
    from calkd_edge.recipe import source as recipe_text
    from calkd_edge.recipe.schema import load_recipe
    from calkd_edge.recipe.smoke import smoke as smoke_variant

    if accelerator not in ("auto", "cpu", "cuda"):
        raise RecipeError(f"--accelerator {accelerator}: not known", remedy="Valid: auto, cpu, cuda.")
    plugins = load_plugins(plugin or ())
    where = str(recipe_text.find(recipe))
    loaded = run_devices.with_devices(load_recipe(recipe, overrides or ()), device or ())
    chosen = smoke_variant(loaded) if smoke else loaded
    folder = (out or Path("runs") / chosen.name).resolve()
    options = Options(
        out=folder,
        store=store,
        accelerator=accelerator,
        processes=processes,
        fresh=fresh or (),
        skipped_devices=skip_device or (),
        target_devices=[run_devices.device_section(text).label for text in device or ()],
        smoke=smoke,
        allow_undecided=allow_undecided,
        reuse_measurements=reuse_measurements,
        debug_parity=debug_parity,
        plugins=plugins,
    )
    say("recipe {}", where)
    if dry_run:
        _show_plan(chosen, where, options, as_json=as_json)
        return
    log_to(folder / "log.txt")
    release = _run(chosen, where, options)
    _finish(release, as_json=as_json)


def _run(recipe: Recipe, where: str, options: Options) -> Release:
    from calkd_edge.cli.run_screen import TerminalWatcher
    from calkd_edge.pipeline import run as pipeline

    count = 0

    def counted(total: int) -> None:
        nonlocal count
        count = total

    watcher = TerminalWatcher(screen(), lambda: count)
    try:
        return pipeline.compress(
            recipe, where=where, options=options, watcher=watcher, told=_tell, counted=counted
        )
    finally:
        watcher.stop()


def _tell(sentence: str) -> None:
    logging.getLogger("calkd_edge").info(sentence)
    style = "yellow" if sentence.startswith("WARNING") else "dim"
    say(f"  [{style}]{{}}[/{style}]", sentence)


def _show_plan(recipe: Recipe, where: str, options: Options, *, as_json: bool) -> None:
    from calkd_edge.cli.run_screen import plan_json, show_plan
    from calkd_edge.engine.store import Store
    from calkd_edge.pipeline import run as pipeline

    plan, _ = pipeline.make_plan(recipe, where, options)
    for sentence in pipeline.notices(plan.checked, options):
        _tell(sentence)
    reused: set[str] = set()
    if options.store.is_dir():
        store = Store(options.store)
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
