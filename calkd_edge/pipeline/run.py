"""compress(): bring every stage of a plan, judge what came of it, and write report and bundle.

In scope: what is done when, and what becomes of a failure. Out of scope: arithmetic, the terminal.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from calkd_edge.calibration.tables import TABLES, WHY_NOT_FOLDED
from calkd_edge.engine.runner import Brought, Runner, Watcher
from calkd_edge.engine.store import Store
from calkd_edge.errors import (
    CalkdError,
    DeviceError,
    GateFailed,
    GateUndecided,
    RecipeError,
    did_you_mean,
    worst_exit,
)
from calkd_edge.pipeline import devices
from calkd_edge.pipeline import estimate as expected
from calkd_edge.pipeline.checks import Checked, check
from calkd_edge.pipeline.options import Options
from calkd_edge.pipeline.plan import Planner
from calkd_edge.pipeline.planned import Plan
from calkd_edge.pipeline.publish import manifest_facts, write_bundle_if_allowed, write_release
from calkd_edge.quantization import ROUNDED
from calkd_edge.recipe.schema import Recipe
from calkd_edge.records import DeviceFacts, Report
from calkd_edge.stages import parity

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Release:
    """What a run came to.

    Attributes:
        report: everything that was measured and judged.
        folder: where report.html, report.json and models/ lie.
        bundle: the zip, None when the verdict allowed none.
        device_errors: by device; their gates are unmeasured.
    """

    report: Report
    folder: Path
    bundle: Path | None
    device_errors: Mapping[str, CalkdError]

    @property
    def problem(self) -> CalkdError | None:
        """The gravest of device errors and verdict, which the exit code tells; None when all is well."""
        problems: list[CalkdError] = list(self.device_errors.values())
        results = [gate.result for gate in self.report.gates]
        if self.report.verdict == "failed":
            broken = results.count("failed") + results.count("unmeasured")
            problems.append(GateFailed(f"{broken} gate(s) did not pass", remedy="See the report; no bundle."))
        elif self.report.verdict == "undecided":
            said = f"{results.count('undecided')} gate(s) are undecided"
            problems.append(GateUndecided(said, remedy="See the report for what would decide them."))
        gravest = worst_exit(problem.exit_code for problem in problems)
        return next((problem for problem in problems if problem.exit_code == gravest), None)


def make_plan(recipe: Recipe, where: str, options: Options) -> tuple[Plan, dict[str, DeviceFacts]]:
    """The plan of a recipe and the facts of its devices; nothing is run.

    Raises:
        CalkdError: the recipe, a device or the environment does not allow it.
    """
    checked = check(recipe, where)
    devices.check_skipped(recipe, options.skipped_devices)
    places = devices.located(recipe, options.skipped_devices)
    facts = devices.probe(recipe, places, options.skipped_devices)
    planner = Planner(checked, facts, places, options.accelerator, options.plugins, options.debug_parity)
    return planner.plan(), facts


def compress(
    recipe: Recipe,
    *,
    where: str,
    options: Options,
    watcher: Watcher,
    told: Callable[[str], None] = log.info,
    counted: Callable[[int], None] = lambda stages: None,
) -> Release:
    """Run a recipe whole. A failed gate is a value here; only the command line turns it into an exit code.

    Args:
        recipe: as loaded, or its smoke variant.
        where: its file, for messages.
        options: where and how.
        watcher: told of each stage.
        told: takes sentences for the reader.
        counted: takes the number of stages, once it is known.

    Raises:
        CalkdError: a stage refused, a device is unreachable at the start, or the environment lacks something.
    """
    plan, facts = make_plan(recipe, where, options)
    counted(len(plan.stages))
    store = Store(options.store)
    for sentence in notices(plan.checked, options):
        told(sentence)
    expected.check_disk(plan, store)
    renew(plan, store, options)
    long_run = expected.sentence(expected.training_seconds(plan, store, options.accelerator))
    if long_run is not None:
        told(long_run)
    runner = Runner(store, watcher, manifest_facts, options.processes)
    brought, errors = bring_all(plan, runner, told)
    report = write_release(plan, facts, store, brought, errors, options)
    bundle = write_bundle_if_allowed(plan, report, brought, options)
    return Release(report, options.out, bundle, errors)


def notices(checked: Checked, options: Options) -> list[str]:
    """What a reader should know before the work begins."""
    recipe, said = checked.recipe, []
    if checked.teacher_mode == "live":
        said.append(f"The teacher runs live in every step, no soft labels are stored: {checked.reason}.")
    elif checked.teacher_mode == "stored":
        views, epochs = recipe.distill.views, recipe.distill.epochs
        runtime = "ONNX Runtime" if checked.teacher_is_file else "torch"
        said.append(
            f"Soft labels: {views} views of each image, each seen {epochs / views:.1f} times; "
            f"{runtime} runs the teacher."
        )
    effect = checked.effect()
    if effect.kind == "no_op":
        said.append(
            f"WARNING: calibrating the teacher changes nothing for this student: {effect.sentence}. "
            "Add kd or dkd to distill.losses to let it act."
        )
    said.append(_how_it_folds(checked))
    tables = [one["name"] for one in checked.compared if one["name"] in TABLES]
    if tables:
        said.append(f"{', '.join(tables)}: measured beside it, cannot ship: {WHY_NOT_FOLDED}.")
    if recipe.distill.control:
        said.append(
            "distill.control: a second student learns from the uncalibrated teacher, which doubles the "
            "time of distillation."
        )
    if options.processes > 1:
        kind = "synchronised" if recipe.distill.sync_batch_norm else "per process"
        said.append(f"Training runs in {options.processes} processes; batch normalisation is {kind}.")
    return said


def _how_it_folds(checked: Checked) -> str:
    """How the calibration enters the file of each precision, by the kind of map that its calibrator fits."""
    kind, name = checked.calibrator_kind, checked.named["calibrator"]["name"]
    precisions = [precision["name"] for precision in checked.precisions]
    rounded = ", ".join(precision for precision in precisions if precision in ROUNDED)
    floats = ", ".join(precision for precision in precisions if precision not in ROUNDED)
    folded = f"folded into {floats}; " if floats else ""
    if kind is None:
        how = "folded where the fitted map allows it, else as two nodes behind the logits (see the report)"
    elif kind == "matrix" and rounded:
        how = f"{folded}as two nodes behind int8 weights, which hold no matrix ({rounded})"
    elif kind == "vector" and rounded:
        positive = "folded into int8 weights where all its scales are positive"
        how = f"{folded}{positive}, else as two nodes behind them ({rounded})"
    else:
        how = "folded into the last layer of every precision"
    teacher = "; into the teacher's file where its graph allows it" if checked.teacher_is_file else ""
    return f"Calibration ({name}): {how}{teacher}."


def renew(plan: Plan, store: Store, options: Options) -> None:
    """Take away what `--fresh` names, with all that rests on it, and latencies that grew old.

    Raises:
        RecipeError: `--fresh` names no stage of the plan.
    """
    doomed: set[str] = set()
    for wanted in options.fresh:
        starts = (f"{wanted}-", f"{wanted}@")
        chosen = [stage for stage in plan.stages if f"{stage.name}@".startswith(starts)]
        if not chosen:
            names = list(dict.fromkeys(stage.name for stage in plan.stages))
            raise RecipeError(
                f"--fresh {wanted}: the plan has no such stage",
                remedy=f"{did_you_mean(wanted, names)}Stages: {', '.join(names)}.",
            )
        doomed |= {stage.fingerprint for stage in chosen}
    doomed |= {
        stage.fingerprint
        for stage in plan.stages
        if any(source.fingerprint in doomed for source in stage.ancestors())
    }
    oldest = datetime.now(timezone.utc) - timedelta(days=plan.checked.recipe.benchmark.max_age_days)
    for stage in plan.stages:
        place = store.published(stage) if stage.measures and not options.reuse_measurements else None
        if place is not None and datetime.fromisoformat(store.manifest(place)["published_at"]) < oldest:
            doomed.add(stage.fingerprint)
    for stage in plan.stages:
        if stage.fingerprint in doomed:
            with store.lock(stage):
                store.discard(stage)


def bring_all(
    plan: Plan, runner: Runner, told: Callable[[str], None]
) -> tuple[dict[str, Brought], dict[str, CalkdError]]:
    """Bring every stage; a device that fails on the way takes only its own rows with it."""
    brought: dict[str, Brought] = {}
    errors: dict[str, CalkdError] = {}
    for stage in plan.stages:
        if any(source.fingerprint not in brought for source in stage.inputs.values()):
            continue
        try:
            brought[stage.fingerprint] = runner.bring(stage)
            if stage.path == f"{parity.__name__}:run":
                told(parity.sentence(stage.name, brought[stage.fingerprint].folder))
            if stage is plan.data:
                expected.check_disk(plan, runner.store)
        except DeviceError as failed:
            device = str(stage.params["device"])
            if device == plan.checked.recipe.calibrate.on and not stage.measures:
                raise
            errors[device] = failed
            log.error("%s: %s", stage.name, failed.message)
    return brought, errors
