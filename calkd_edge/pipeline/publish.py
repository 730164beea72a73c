"""From finished stages to the release: the verdict, report.html, report.json, models/ and bundle.zip.

In scope: assembling and writing; what ships is what was measured. Out of scope: running stages, the terminal.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from calkd_edge.data.prepared import Prepared
from calkd_edge.engine.manifest import published_sha256
from calkd_edge.engine.runner import PublishedStage
from calkd_edge.engine.stage import Stage
from calkd_edge.engine.store import Store
from calkd_edge.errors import CalkdError, StoreError
from calkd_edge.export.artifacts import CANONICAL, HISTORY
from calkd_edge.models.image_model import WEIGHTS
from calkd_edge.pipeline import results, shown
from calkd_edge.pipeline.bundling import bundle_run
from calkd_edge.pipeline.commit import program_commit
from calkd_edge.pipeline.data_checks import WARNING, findings
from calkd_edge.pipeline.options import Options
from calkd_edge.pipeline.planned import MeasuredRow, Plan
from calkd_edge.pipeline.teacher_order import doubtful_order
from calkd_edge.records import DeviceFacts, Json, PlannedStage, Report
from calkd_edge.release.contents import BUNDLE, MODELS, SCORES
from calkd_edge.release.folder import ReleaseFolder, copy_measured
from calkd_edge.release.gates.evidence import Evidence, labels_of
from calkd_edge.release.gates.to_fp32 import compared_with_fp32
from calkd_edge.release.judgement import judged
from calkd_edge.release.report.conclusions import conclusions
from calkd_edge.release.report.drift import drift
from calkd_edge.release.report.learning import learning
from calkd_edge.release.report.report import write_report
from calkd_edge.release.scores import KeptScores, kept_scores, to_bytes

PACKAGES = (
    "calkd-edge",
    "torch",
    "torchvision",
    "lightning-fabric",
    "onnx",
    "onnxscript",
    "onnxruntime",
    "numpy",
)


def write_release(
    plan: Plan,
    facts: Mapping[str, DeviceFacts],
    store: Store,
    finished: Mapping[str, PublishedStage],
    errors: Mapping[str, CalkdError],
    options: Options,
    target: ReleaseFolder,
) -> tuple[Report, Path | None]:
    """Judge, and replace the release in the run's folder; returns the report and the bundle's path.

    There is a bundle only of a passed release, or of an undecided one if allowed.

    Raises:
        StoreError: a published folder is damaged, or a model file is not the one that was measured; nothing
            is released then.
    """
    measured = [stage for stage in plan.stages if stage.fingerprint in finished]
    store.check(measured)
    report, scores = make_report(plan, facts, store, finished, errors, options)
    folders = {fingerprint: result.folder for fingerprint, result in finished.items()}
    store.note("started", "report")
    with target.staged() as staged:
        released = [row for row in plan.rows if row.model not in plan.compared]
        _copy_models(released, folders, report, staged / MODELS)
        write_report(report, staged)
        (staged / SCORES).write_bytes(to_bytes(scores))
        undecided = report.verdict == "undecided" and options.allow_undecided
        is_bundled = report.verdict == "passed" or undecided
        if is_bundled:
            bundle_run(plan, report, folders, staged)
        store.check(measured)  # nothing of what was read above has changed meanwhile
        target.publish(staged)
    store.note("published", "report")
    return report, target.path / BUNDLE if is_bundled else None


def make_report(
    plan: Plan,
    facts: Mapping[str, DeviceFacts],
    store: Store,
    finished: Mapping[str, PublishedStage],
    errors: Mapping[str, CalkdError],
    options: Options,
) -> tuple[Report, KeptScores]:
    """Everything that was measured, judged; and the scores that the verdict rests on."""
    folders = {fingerprint: result.folder for fingerprint, result in finished.items()}
    evidence, scored = _evidence(plan, folders, facts, errors, options)
    recipe = plan.checked.recipe
    labels = dict(zip(map(id, evidence), labels_of([item.measurement for item in evidence]), strict=True))
    labelled = [(row, labels[id(item)]) for row, item in scored]
    named = [(item, labels[id(item)]) for _, item in scored]
    # Before the gates: they ask for some of the same means, which are then known.
    drifts = drift(evidence, recipe.thresholds)
    data = folders[plan.data.fingerprint]
    scores = kept_scores(evidence, Prepared.open(data).images)
    judgement = judged(
        recipe,
        evidence,
        scores,
        facts,
        earlier=options.earlier,
        smoke=options.smoke,
        target_devices=options.target_devices,
    )
    verdict = judgement.verdict
    fitted = results.fitted_calibration(folders[plan.rows[0].calibrate.fingerprint])
    trained = {"teacher": plan.teacher, "student": plan.student, **plan.compared}
    models = {name: _model_facts(stage, store, folders) for name, stage in trained.items()}
    report = Report(
        name=recipe.name,
        verdict=verdict.verdict,
        gates=verdict.gates,
        recommendation=judgement.recommendation,
        measurements=tuple(item.measurement for item in evidence),
        devices=dict(facts),
        conclusions=judgement.concluding(
            [*_sentences(plan, folders, evidence, facts), *(str(error) for error in errors.values())]
        ),
        drift=drifts,
        out_of_distribution=results.out_of_distribution(named),
        unknown=results.unknown(named),
        comparisons=results.comparisons(labelled, folders),
        baseline=judgement.baseline,
        target_devices=tuple(options.target_devices),
        coverage=shown.coverage((item, labels[id(item)]) for _, item in scored),
        training={name: shown.training(folders[stage.fingerprint]) for name, stage in trained.items()},
        pictures=shown.shown_pictures(evidence, judgement.recommendation, data),
        plan=tuple(_plan_line(stage, finished) for stage in plan.stages),
        data=results.data_facts(data, str(plan.data.params["identity"])),
        models={**models, "teacher_calibration": plan.checked.effect(fitted.affine).sentence},
        environment=environment(options),
        recipe=recipe.model_dump(mode="json"),
    )
    return report, scores


def _sentences(
    plan: Plan, folders: Mapping[str, Path], evidence: Sequence[Evidence], facts: Mapping[str, DeviceFacts]
) -> Iterator[str]:
    """What a reader needs to know of the data, of the training, and of the measurements."""
    for text in findings(folders[plan.data.fingerprint]):
        yield f"{text.removeprefix(WARNING)}."
    for text in doubtful_order(plan, folders):
        yield f"{text[0].upper()}{text[1:]}."
    yield from learning(
        evidence,
        _last_epoch(folders[plan.student.fingerprint]),
        plan.checked.augmentation,
        measures_batch_norm=plan.checked.recipe.distill.measure_batch_norm,
    )
    yield from conclusions(evidence, devices=facts)


def _evidence(
    plan: Plan,
    folders: Mapping[str, Path],
    facts: Mapping[str, DeviceFacts],
    errors: Mapping[str, CalkdError],
    options: Options,
) -> tuple[list[Evidence], list[tuple[MeasuredRow, Evidence]]]:
    """Every measurement, and each row that was scored with its calibrated one."""
    faults = results.data_faults(folders[plan.data.fingerprint])
    classes = Prepared.open(folders[plan.data.fingerprint]).classes
    evidence: list[Evidence] = []
    scored: list[tuple[MeasuredRow, Evidence]] = []
    for row in plan.rows:
        if row.evaluate.fingerprint in folders:
            evidence += results.evidence_of(row, folders, facts[row.device.name], faults, classes)
            scored.append((row, evidence[-1]))
        else:
            reason = str(errors.get(row.device.label, "not measured"))
            evidence.append(results.unmeasured(row.model, row.precision, row.device, reason))
    recipe = plan.checked.recipe
    evidence += [
        results.unmeasured("student", precision.name, device, "skipped (--skip-device)")
        for precision in recipe.precisions
        for device in recipe.devices
        if device.name in options.skipped_devices
    ]
    compared = compared_with_fp32(evidence)
    after = dict(zip(map(id, evidence), compared, strict=True))
    return compared, [(row, after[id(item)]) for row, item in scored]


def _plan_line(stage: Stage, finished: Mapping[str, PublishedStage]) -> PlannedStage:
    result = finished.get(stage.fingerprint)
    reused, seconds = (result.reused, result.seconds) if result else (False, 0.0)
    return PlannedStage(stage=stage.name, fingerprint=stage.fingerprint, reused=reused, seconds=seconds)


def _model_facts(stage: Stage, store: Store, folders: Mapping[str, Path]) -> Json:
    folder = folders[stage.fingerprint]
    files = store.manifest(folder)["files"]
    sha256 = (files.get(WEIGHTS) or files[CANONICAL])["sha256"]
    return {**results.model_facts(folder, sha256), "last_epoch": _last_epoch(folder)}


def _last_epoch(folder: Path) -> dict[str, Json]:
    """The last line of a training's history."""
    return dict((history_of(folder) or [{}])[-1])


def history_of(folder: Path) -> list[dict[str, Json]]:
    """One line for each epoch of a training."""
    return [json.loads(line) for line in (folder / HISTORY).read_text(encoding="utf-8").splitlines()]


def histories(plan: Plan, finished: Mapping[str, PublishedStage]) -> dict[str, list[dict[str, Json]]]:
    """The history of every training of a plan, by its model."""
    trained = {"teacher": plan.teacher, "student": plan.student, **plan.compared}
    return {name: history_of(finished[stage.fingerprint].folder) for name, stage in trained.items()}


def _copy_models(
    rows: Sequence[MeasuredRow], folders: Mapping[str, Path], report: Report, target: Path
) -> None:
    """Copy the calibrated files of every precision, each with the SHA-256 of its measurement."""
    measured = {row.file: row.sha256 for row in report.measurements if row.quality is not None}
    files: dict[str, Path] = {}
    for row in rows:
        if row.calibrate.fingerprint in folders:
            files.update(results.model_files(row, folders))
    for name, source in files.items():
        published = published_sha256(source)
        if measured.get(name, published) != published:
            raise StoreError(
                f"{source} is not the file that was measured as {name}, so nothing is released",
                remedy=f"Remove its folder and run again: rm -r {source.parent}",
            )
        copy_measured(source, target / name, published)


def environment(options: Options) -> dict[str, Json]:
    """The machine and the versions behind a report."""
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "commit": program_commit(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "accelerator": options.accelerator,
        "processes": options.processes,
        **({"nodes": options.nodes} if options.nodes > 1 else {}),
        **manifest_facts(options.accelerator),
    }


def manifest_facts(accelerator: str) -> dict[str, Json]:
    """Facts for every manifest: the same weights can be expected only where these are the same.

    Args:
        accelerator: auto, cpu or cuda.
    """
    # Imported here: only a finished stage needs them.
    import torch

    from calkd_edge.training.accelerator import chosen_accelerator
    from calkd_edge.training.cuda import cuda_facts

    return {
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
        "versions": _versions(),
        **cuda_facts(chosen_accelerator(accelerator)),
    }


def _versions() -> dict[str, Json]:
    versions: dict[str, Json] = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    return versions
