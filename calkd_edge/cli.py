"""The command line: parses, calls the pipeline, prints, and maps errors to exit codes.

Imports nothing heavy at the top, so that --help answers at once. The only place on the host that prints.
"""

from __future__ import annotations

import errno
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from calkd_edge.benchmark_cli import benchmark
from calkd_edge.calibrate_cli import calibrate
from calkd_edge.doctor_cli import doctor
from calkd_edge.errors import (
    EXIT_BUG,
    EXIT_INTERRUPTED,
    CalkdError,
    EnvironmentProblem,
    GateFailed,
    RecipeError,
    StageFailed,
)
from calkd_edge.lint_cli import lint
from calkd_edge.screen import complain, log_problem, log_to, say, screen
from calkd_edge.store_cli import StoreOption, store_app

if TYPE_CHECKING:
    from calkd_edge.options import Options
    from calkd_edge.pipeline import Release
    from calkd_edge.recipe import Recipe

app = typer.Typer(
    help="Distil, quantize and ship image classifiers whose confidences stay true on the device.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(store_app, name="store")
app.command()(benchmark)
app.command()(calibrate)
app.command()(lint)
app.command()(doctor)

JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")]
PluginOption = Annotated[
    list[str] | None, typer.Option("--plugin", help="Module of one's own that registers names.")
]


@app.command()
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
    from calkd_edge import recipe_text, targets
    from calkd_edge.options import Options
    from calkd_edge.plugins import load_plugins
    from calkd_edge.recipe import load_recipe
    from calkd_edge.smoke import smoke as smoke_variant

    if accelerator not in ("auto", "cpu", "cuda"):
        raise RecipeError(f"--accelerator {accelerator}: not known", remedy="Valid: auto, cpu, cuda.")
    plugins = load_plugins(plugin or ())
    where = str(recipe_text.find(recipe))
    loaded = targets.with_devices(load_recipe(recipe, overrides or ()), device or ())
    chosen = smoke_variant(loaded) if smoke else loaded
    folder = (out or Path("runs") / chosen.name).resolve()
    options = Options(
        out=folder,
        store=store,
        accelerator=accelerator,
        processes=processes,
        fresh=fresh or (),
        skipped_devices=skip_device or (),
        target_devices=[targets.split_runtime(name)[0] for name in device or ()],
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
    from calkd_edge import pipeline
    from calkd_edge.terminal import TerminalWatcher

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
    from calkd_edge import pipeline
    from calkd_edge.engine.store import Store
    from calkd_edge.terminal import plan_json, show_plan

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
    from calkd_edge.release.report import render_json
    from calkd_edge.terminal import show_report

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


@app.command()
def evaluate(
    model: Annotated[Path, typer.Argument(help="An ONNX classifier.")],
    data: Annotated[str, typer.Option("--data", help="A folder of class folders, or a data set's name.")],
    root: Annotated[Path | None, typer.Option("--root", help="Where a named data set lies.")] = None,
    images: Annotated[int | None, typer.Option("--images", min=1, help="Score at most this many.")] = None,
    layout: Annotated[str | None, typer.Option("--layout", help="nchw or nhwc, for a foreign file.")] = None,
    mean: Annotated[str | None, typer.Option("--mean", help="R,G,B in 0..1, for a float input.")] = None,
    std: Annotated[str | None, typer.Option("--std", help="R,G,B in 0..1, for a float input.")] = None,
    seed: Annotated[int, typer.Option("--seed", min=0)] = 17,
    threads: Annotated[int, typer.Option("--threads", min=1)] = 1,
    as_json: JsonOption = False,
) -> None:
    """Score any ONNX classifier on the test images of a data set, through the agent on this machine."""
    from calkd_edge.scoring import evaluate_file, parse_triple

    quality = evaluate_file(
        model,
        data,
        root=root,
        images=images,
        layout=layout,
        mean=parse_triple("--mean", mean),
        std=parse_triple("--std", std),
        seed=seed,
        threads=threads,
    )
    if as_json:
        print(quality.model_dump_json(indent=1))
        return
    for name in (
        "top1",
        "top5",
        "nll",
        "brier",
        "ece",
        "ece_over",
        "ece_under",
        "ace_classwise",
        "ace_toplabel",
    ):
        found = getattr(quality, name)
        print(f"{name:>14}  {found.value:.4f}  [{found.low:.4f}, {found.high:.4f}]")
    print(f"{'images':>14}  {quality.images}")


@app.command("list")
def list_names(
    kind: Annotated[str, typer.Argument(help="models, losses, calibrators, datasets, recipes, devices ...")],
    as_json: JsonOption = False,
) -> None:
    """Everything a recipe may name, with its settings."""
    import json

    from calkd_edge.listing import listed

    entries = listed(kind)
    if as_json:
        print(json.dumps(entries, indent=1))
        return
    width = max((len(entry["name"]) for entry in entries), default=0)
    for entry in entries:
        settings = ", ".join(f"{key}={about.get('default', '…')}" for key, about in entry["settings"].items())
        print(f"{entry['name']:<{width}}  {entry['summary']}")
        for extra in (settings, entry["source"]):
            if extra:
                print(f"{'':<{width}}    {extra}")


@app.command()
def schema(kind: Annotated[str, typer.Argument(help="recipe or report.")]) -> None:
    """Print the JSON schema of a recipe or of report.json."""
    import json

    from calkd_edge.recipe import Recipe
    from calkd_edge.records import Report

    known: dict[str, Any] = {"recipe": Recipe, "report": Report}
    if kind not in known:
        raise RecipeError(f"there is no schema of '{kind}'", remedy="Valid: recipe, report.")
    print(json.dumps(known[kind].model_json_schema(mode="serialization"), indent=1))


@app.command()
def verify(bundle: Annotated[Path, typer.Argument(help="A bundle.zip.")]) -> None:
    """Hold a bundle against its own checksums."""
    from calkd_edge.release.bundle import verify_bundle

    problems = verify_bundle(bundle)
    for problem in problems:
        print(problem)
    if problems:
        raise GateFailed(f"{bundle} is not as it was written", remedy="Fetch it again, or make it anew.")
    print(f"{bundle}: every file is as it was written")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit code. The one place where errors become messages."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    # Read by torch's threads when it is first imported: one that waits spins for microseconds, then sleeps.
    # As fast as OpenMP's own setting alone, and faster beside others (benchmarks/training/busy_machine.json).
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")
    try:
        code = int(app(given, standalone_mode=False) or 0)
        if code == EXIT_INTERRUPTED:  # the parser's own answer to Ctrl-C
            raise KeyboardInterrupt
        return code
    except CalkdError as problem:
        place = f"stage {problem.stage}: " if isinstance(problem, StageFailed) and problem.stage else ""
        complain(f"{place}{problem.message}", problem.remedy)
        log_problem(problem)
        return problem.exit_code
    except (KeyboardInterrupt, typer.Abort):
        complain("interrupted", "Run the same line again to go on from the last finished step.")
        return EXIT_INTERRUPTED
    except Exception as problem:
        return _usage_or_bug(problem)


def _usage_or_bug(problem: Exception) -> int:
    if type(problem).__name__ == "NoArgsIsHelpError":  # no error, though the parser raises it
        sys.stderr.write(f"{problem}\n")
        return 2
    if hasattr(problem, "format_message") and hasattr(problem, "exit_code"):  # a usage error of the parser
        complain(problem.format_message(), "See: calkd-edge --help")
        return int(problem.exit_code)
    if isinstance(problem, OSError) and problem.errno in (errno.ENOSPC, errno.EDQUOT):
        complain(f"the disk is full: {problem}", "Free space and run the same line again: it resumes.")
        return EnvironmentProblem.exit_code
    if isinstance(problem, typer.Exit):
        return int(problem.exit_code)
    logs = log_problem(problem)
    remedy = f"This is a bug of ours; the traceback stands in {logs[0]}." if logs else traceback.format_exc()
    complain(f"{type(problem).__name__}: {problem}", remedy)
    return EXIT_BUG


if __name__ == "__main__":
    sys.exit(main())
