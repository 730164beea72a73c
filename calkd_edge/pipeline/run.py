"""compress(): run every stage of a plan, judge the results, and write report and bundle.

In scope: what is done when, and how failures end. Out of scope: arithmetic, the terminal.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path

from calkd_edge.engine.collect import remember_run
from calkd_edge.engine.locks import keeping_folders
from calkd_edge.engine.nodes import Nodes, check_nodes
from calkd_edge.engine.runner import PublishedStage, Runner, Watcher
from calkd_edge.engine.stage import Progress, Stage
from calkd_edge.engine.store import Store
from calkd_edge.errors import CalkdError, DeviceError, worst_exit
from calkd_edge.files.full_disk import naming_full_disk, out_place, store_place, temporary_place
from calkd_edge.pipeline.data_checks import WARNING, findings
from calkd_edge.pipeline.notices import notices
from calkd_edge.pipeline.options import Options
from calkd_edge.pipeline.planned import Plan
from calkd_edge.pipeline.preparation import Run, expectation, make_plan, named_fresh, published
from calkd_edge.pipeline.publish import histories, manifest_facts, write_release
from calkd_edge.pipeline.teacher_order import doubtful_order
from calkd_edge.pipeline.trackers import log_to
from calkd_edge.pipeline.unknown_images import left_out
from calkd_edge.records import Report
from calkd_edge.release.folder import WITHDRAWN, ReleaseFolder
from calkd_edge.release.judgement import problem_of
from calkd_edge.stages.params import ParityParams, PrepareUnknownParams

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Release:
    """The result of a run.

    Attributes:
        report: everything that was measured and judged.
        folder: where report.html, report.json and models/ are.
        bundle: the zip, None when the verdict allows none.
        device_errors: by NAME:RUNTIME; the gates of these devices are unmeasured.
    """

    report: Report
    folder: Path
    bundle: Path | None
    device_errors: Mapping[str, CalkdError]

    @property
    def problem(self) -> CalkdError | None:
        """The gravest of device errors and verdict, which decides the exit code; None when all is well."""
        problems: list[CalkdError] = list(self.device_errors.values())
        judged = problem_of(self.report)
        problems += [judged] if judged is not None else []
        gravest = worst_exit(problem.exit_code for problem in problems)
        return next((problem for problem in problems if problem.exit_code == gravest), None)


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
    folder = ReleaseFolder(run.options.out)
    places = out_place(run.options.out), store_place(run.options.store.resolve()), temporary_place()
    with naming_full_disk(*places), folder.held(), keeping_folders():
        if folder.withdraw_other(run.recipe.model_dump(mode="json")):
            kept = folder.path / WITHDRAWN
            on_message(f"{kept} holds the release of another recipe until the next one appears.")
        plan, facts = make_plan(run)
        on_plan(plan)
        options, store = run.options, Store(run.options.store)
        renew(plan, store, options)
        for sentence in (*notices(plan.checked, options, run.rehearsed), *expectation(plan, options)):
            on_message(sentence)
        facts_of_stage = partial(manifest_facts, options.accelerator)
        nodes = nodes_of(plan, store, options)
        runner = Runner(store, watcher or _Unwatched(), facts_of_stage, options.processes, nodes)
        if nodes is not None:
            on_message(f"Waiting for the other machines; on each: {nodes.command('NUMBER')}")
        with nullcontext() if nodes is None else nodes.gathered():
            results, errors = run_stages(plan, runner, on_message)
        report, bundle = write_release(plan, facts, store, results, errors, options, folder)
        log_to(options.trackers, report, histories(plan, results), folder.path, on_message)
    return Release(report, options.out, bundle, errors)


def nodes_of(plan: Plan, store: Store, options: Options) -> Nodes | None:
    """The machines of a run; None where this is the only one, or nothing is left to train."""
    reused = published(plan, options)
    is_needed = any(stage.parallel and stage.fingerprint not in reused for stage in plan.stages)
    if options.nodes == 1 or not is_needed:
        return None
    host, port = check_nodes(options.nodes, options.rendezvous)
    return Nodes(store.root, options.nodes, host, port, options.processes)


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


def run_stages(
    plan: Plan, runner: Runner, on_message: Callable[[str], None]
) -> tuple[dict[str, PublishedStage], dict[str, CalkdError]]:
    """Run every stage; a device that fails on the way loses only its own rows.

    Returns:
        Results by fingerprint, errors by NAME:RUNTIME of the device.
    """
    results: dict[str, PublishedStage] = {}
    errors: dict[str, CalkdError] = {}
    remember_run(runner.store, plan.name, plan.student, plan.stages)
    for stage in plan.stages:
        if any(source.fingerprint not in results for source in stage.inputs.values()):
            continue
        try:
            result = runner.run(stage)
        except DeviceError as failed:
            if stage.resource == plan.checked.recipe.calibration_device.label and not stage.measures:
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
        if stage.path == PrepareUnknownParams.function:
            for sentence in left_out(result.folder):
                on_message(sentence)
        if stage is plan.rows[0].raw:
            for sentence in doubtful_order(plan, {key: done.folder for key, done in results.items()}):
                on_message(f"{WARNING}{sentence}")
    return results, errors
