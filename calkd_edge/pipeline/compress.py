"""The Python form of `calkd-edge compress`, with the command's defaults and errors."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from calkd_edge.engine.runner import Watcher
from calkd_edge.pipeline.planned import Plan
from calkd_edge.pipeline.preparation import make_plan, prepare_run
from calkd_edge.pipeline.run import Release, run_plan
from calkd_edge.recipe.schema import Recipe

log = logging.getLogger(__name__)


def compress(
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
    on_stage: Watcher | None = None,
    on_message: Callable[[str], None] = log.info,
) -> Release:
    """Run a recipe: train, calibrate, distil, export, quantize, measure, judge, and write the release.

    A failed gate is a value, `release.report.verdict`; `release.problem` is the error that the command would
    end with. A run that is cut continues from its last finished stage when it is called again.

        release = compress("quickstart", smoke=True)
        print(release.report.verdict, release.folder)

    Args:
        recipe: a path, the name of a packaged recipe, or a loaded recipe.
        out: the folder for report, models and bundle; `runs/<name>` by default.
        store: the folder of published stages.
        devices: further devices, each NAME or NAME:RUNTIME.
        skip_devices: devices to leave out; their gates are unmeasured.
        overrides: assignments `a.b=c` to the recipe's file.
        smoke: run the same plan with tiny numbers.
        accelerator: auto, cpu or cuda.
        processes: for training, on each machine.
        nodes: machines that train; each other one joins by `python -m calkd_edge.stages --join STORE`.
        rendezvous: HOST:PORT of this machine at which their processes meet.
        fresh: names of stages to run again, with all that depend on them.
        plugins: modules that register names.
        allow_undecided: write a bundle for an undecided release too.
        reuse_measurements: keep latencies that are older than the recipe allows.
        debug_parity: compare each exported file with torch layer by layer.
        baseline: the folder or bundle of an earlier release to compare with; "none" for a first release of a
            recipe whose gates need one.
        trackers: experiment trackers that the finished run is logged to: tensorboard, mlflow or wandb.
        on_stage: called at the start and the end of each stage.
        on_message: called with sentences for the reader.

    Raises:
        CalkdError: the recipe is wrong, a stage refused, a device is unreachable at the start, or the
            environment lacks something.
    """
    run = prepare_run(
        recipe,
        out=out,
        store=store,
        devices=devices,
        skip_devices=skip_devices,
        overrides=overrides,
        smoke=smoke,
        accelerator=accelerator,
        processes=processes,
        nodes=nodes,
        rendezvous=rendezvous,
        fresh=fresh,
        plugins=plugins,
        allow_undecided=allow_undecided,
        reuse_measurements=reuse_measurements,
        debug_parity=debug_parity,
        baseline=baseline,
        trackers=trackers,
    )
    return run_plan(run, watcher=on_stage, on_message=on_message)


def plan(
    recipe: str | Path | Recipe,
    *,
    store: str | Path = ".calkd",
    devices: Sequence[str] = (),
    skip_devices: Sequence[str] = (),
    overrides: Sequence[str] = (),
    smoke: bool = False,
    accelerator: str = "auto",
    fresh: Sequence[str] = (),
    plugins: Sequence[str] = (),
    allow_undecided: bool = False,
    debug_parity: bool = False,
) -> Plan:
    """The stages that `compress` would run, in order; devices are probed, nothing is run or written.

        for stage in plan("quickstart").stages:
            print(stage.name, stage.fingerprint[:12])

    Args:
        recipe: a path, the name of a packaged recipe, or a loaded recipe.
        store: the folder of published stages.
        devices: further devices, each NAME or NAME:RUNTIME.
        skip_devices: devices to leave out.
        overrides: assignments `a.b=c` to the recipe's file.
        smoke: plan the same work with tiny numbers.
        accelerator: auto, cpu or cuda.
        fresh: names of stages that would run again.
        plugins: modules that register names.
        allow_undecided: take gates that cannot pass on so few test images.
        debug_parity: with a stage after each export that compares its file with torch layer by layer.

    Raises:
        CalkdError: the recipe, its data or files, a device or the environment does not allow it.
    """
    run = prepare_run(
        recipe,
        store=store,
        devices=devices,
        skip_devices=skip_devices,
        overrides=overrides,
        smoke=smoke,
        accelerator=accelerator,
        fresh=fresh,
        plugins=plugins,
        allow_undecided=allow_undecided,
        debug_parity=debug_parity,
    )
    return make_plan(run)[0]
