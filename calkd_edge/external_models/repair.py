"""Measure a classifier's confidence, fit a calibration to it, fold it into its file, and prove the fold."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from calkd_edge.calibration.crossfit import cross_fit
from calkd_edge.calibration.fitted import Fitted
from calkd_edge.errors import RecipeError
from calkd_edge.export.proof import prove
from calkd_edge.external_models.options import RepairOptions
from calkd_edge.external_models.output_check import check_returned
from calkd_edge.external_models.predictions import SavedPredictions
from calkd_edge.external_models.running import (
    predictions_of,
    run_file,
    runnable_file,
    with_original_outputs,
)
from calkd_edge.external_models.scoring import DataOptions, scored
from calkd_edge.external_models.sentences import sentences
from calkd_edge.files import replacing, sha256_of
from calkd_edge.files.scratch import ScratchFolder
from calkd_edge.metrics import intervals, quality
from calkd_edge.metrics import per_image as scores
from calkd_edge.metrics.class_order import better_order
from calkd_edge.onnx_model.classifier_output import ClassifierOutput, find_output
from calkd_edge.onnx_model.fold import Folded, LogitsValue, fold_at
from calkd_edge.onnx_model.graph import copy_of
from calkd_edge.onnx_model.logit_readers import computes_label_separately, refuse_other_readers
from calkd_edge.onnx_model.outputs import single_input
from calkd_edge.onnx_model.read import content_sha256, read_onnx
from calkd_edge.onnx_model.reading import Reading
from calkd_edge.onnx_model.standard_form import standard_form
from calkd_edge.records import (
    Affine,
    Calibration,
    Estimate,
    FileEnd,
    FloatArray,
    IntArray,
    Quality,
    Repair,
    RepairedFile,
)

FEWEST = 10
HALF_ROUNDING = 2.0**-10
"""Of float16, relative: half a unit for each of the two files that round."""


def measure(predictions: SavedPredictions, options: RepairOptions, *, source: str) -> Repair:
    """Confidence of saved predictions before and after calibration.

    Raises:
        RecipeError: logits or labels that cannot be scored, or a method that does not fit them.
    """
    classes = predictions.classes
    fit = _scored(predictions.logits, predictions.labels, classes, options, source)
    record = _record(fit, options, source=source, data=source, classes=classes)
    assumed = {
        "scores": f"{predictions.kind}, by their name in the file",
        "classes": f"{classes[0]}, ..., {classes[-1]}: the order of the columns",
    }
    cautions = [predictions.caution, _better_order(fit, classes)]
    return record.model_copy(update={"assumed": assumed, "cautions": tuple(filter(None, cautions))})


def repair(
    model: Path,
    data: DataOptions,
    options: RepairOptions,
    *,
    reading: Reading | None = None,
    threads: int = 1,
    output: Path | None = None,
) -> Repair:
    """Confidence of an ONNX classifier before and after calibration; with `output`, the calibrated file.

    The written file has the inputs and outputs of the original; only the numbers behind its logits differ. It
    is run on the same inputs and compared with the map applied to the original logits.

    Args:
        model: the file.
        data: which inputs it gets.
        options: what to fit.
        reading: facts that the file does not say.
        threads: of the runtime.
        output: where to write the calibrated file.

    Raises:
        RecipeError: the file or the data does not fit.
        StageFailed: the folded file does not return what it must.
    """
    reading = reading or Reading()
    given, sha256 = read_onnx(model), content_sha256(model)
    loaded = standard_form(given)
    ends = find_output(loaded, output=reading.output, scores=reading.scores)
    refuse_other_readers(loaded, ends)
    if computes_label_separately(loaded, ends) and options.method not in ("temperature", "constant"):
        raise RecipeError(
            f"--method {options.method} can change predictions, but the file's label output would not follow",
            remedy="Use temperature, which changes none.",
        )
    with ScratchFolder("calibrate") as work:
        result = scored(model, loaded, data, reading, work, threads)
        raw, inputs, at_once = result.predictions, result.inputs, result.batches.images_per_run
        batch, run_with = (single_input(file.graph).type.tensor_type.shape.dim for file in (given, loaded))
        batch[0].CopyFrom(run_with[0])  # a number that the file fixes inside was found by running it
        classes = inputs.classes
        fit = _scored(raw.logits, inputs.labels, classes, options, model.name)
        folded, how = folded_copy(loaded, ends, fit.fitted.affine)
        proof = None
        if how.how != "none":
            runnable = runnable_file(folded, data.data, reading)[0]
            after, _ = predictions_of(runnable, inputs, work, threads, at_once)
            rounding = HALF_ROUNDING if ends.half else 0.0
            proof = prove(raw, after, _calibration(options, fit, how), rounding=rounding)
            original, calibrated = (
                run_file(with_original_outputs(file, data.data, reading), inputs, work, threads, at_once)
                for file in (given, folded)
            )
            expected = fit.fitted.affine.apply(raw.logits)
            check_returned(original, calibrated, ends, raw=raw.logits, calibrated=expected)
    written = None
    if output is not None:
        with replacing(output) as temporary:
            onnx.save(folded, temporary)
        written = RepairedFile(name=output.name, sha256=sha256_of(output), size_bytes=output.stat().st_size)
    end = FileEnd(logits=ends.logits, scores=ends.scores, kind=ends.kind, softmaxes=ends.softmaxes)
    record = _record(fit, options, source=model.name, data=inputs.part, classes=classes, how=how, end=end)
    calibration = record.calibration.model_copy(update={"proof": proof})
    assumed = {"assumed": result.assumed, "cautions": result.cautions}
    changes = {"calibration": calibration, "file": written, "sha256": sha256, **assumed}
    return record.model_copy(update=changes)


def _better_order(fit: _CrossFit, classes: tuple[str, ...]) -> str | None:
    return None if fit.labels is None else better_order(fit.before, fit.labels, classes)


def folded_copy(
    model: onnx.ModelProto, ends: ClassifierOutput, affine: Affine
) -> tuple[onnx.ModelProto, Folded]:
    """The same file with the map inside, and how it was folded."""
    folded = copy_of(model)
    return folded, fold_at(folded, affine, LogitsValue.of(ends))


@dataclass(frozen=True)
class _CrossFit:
    """The fitted map, and the logits before and after on images that the fit has not seen."""

    fitted: Fitted
    before: FloatArray
    after: FloatArray
    labels: IntArray | None


def _scored(
    logits: FloatArray, labels: IntArray | None, classes: tuple[str, ...], options: RepairOptions, source: str
) -> _CrossFit:
    """`_fitted`; what cannot be scored is reported with the name of the file."""
    try:
        if labels is not None:
            scores.checked(logits, labels)
        if len(logits) < FEWEST:
            raise RecipeError(f"{source}: {len(logits)} images are too few to fit a map", remedy="Give more.")
        return _fitted(logits, labels, classes, options)
    except ValueError as wrong:
        remedy = "Check the labels, and the outputs of the file."
        raise RecipeError(f"{source}: {wrong}", remedy=remedy) from None


def _fitted(
    logits: FloatArray, labels: IntArray | None, classes: tuple[str, ...], options: RepairOptions
) -> _CrossFit:
    fit = options.fit(classes)
    if labels is None:
        return _without_labels(logits, classes, options)
    fitted, folds = cross_fit(fit, logits, labels, folds=options.folds, seed=options.seed)
    return _CrossFit(fitted, logits, folds.apply(logits), labels)


def _without_labels(logits: FloatArray, classes: tuple[str, ...], options: RepairOptions) -> _CrossFit:
    """Only a map that is not fitted needs no labels."""
    if options.method != "constant":
        raise RecipeError(
            f"--method {options.method} is fitted to labels, and these inputs have none",
            remedy="Give labels, or --method constant --set temperature=T.",
        )
    # Any labels fit: a constant uses them for the NLL only, which is then left out.
    fitted = options.fit(classes)(logits, scores.top1(logits))
    return _CrossFit(fitted, logits, fitted.affine.apply(logits), None)


def _record(
    fit: _CrossFit,
    options: RepairOptions,
    *,
    source: str,
    data: str,
    classes: tuple[str, ...],
    how: Folded | None = None,
    end: FileEnd | None = None,
) -> Repair:
    labels = fit.labels
    before = after = None
    changes: dict[str, Estimate | None] = dict.fromkeys(("nll_change", "brier_change", "top1_change"))
    if labels is not None:
        before, after = (_quality(logits, labels, options) for logits in (fit.before, fit.after))
        changes = _changes(fit.before, fit.after, labels, options.seed)
    record = Repair(
        source=source,
        sha256=None,
        data=data,
        images=len(fit.before),
        classes=classes,
        settings=dict(options.settings),
        folds=0 if labels is None or options.method == "constant" else min(options.folds, len(labels)),
        end=end,
        before=before,
        after=after,
        mean_confidence_before=float(scores.confidence(fit.before).mean()),
        mean_confidence_after=float(scores.confidence(fit.after).mean()),
        calibration=_calibration(options, fit, how),
        file=None,
        sentences=(),
        **changes,
    )
    return record.model_copy(update={"sentences": sentences(record)})


def _quality(logits: FloatArray, labels: IntArray, options: RepairOptions) -> Quality:
    return quality(logits, labels, seed=options.seed, thresholds=options.thresholds)


def _changes(
    before: FloatArray, after: FloatArray, labels: IntArray, seed: int
) -> dict[str, Estimate | None]:
    """Paired differences, after - before."""
    per_image = np.stack(
        [
            figure(after, labels) - figure(before, labels)
            for figure in (scores.nll_per_image, scores.brier_per_image)
        ]
    )
    nll, brier = intervals.mean_bounds(per_image, seed=seed)
    right, right_before = (scores.top1(logits) == labels for logits in (after, before))
    top1 = intervals.tango(
        int((right & ~right_before).sum()), int((right_before & ~right).sum()), len(labels)
    )
    named = {"nll_change": nll, "brier_change": brier, "top1_change": top1}
    return {name: Estimate(**bounds._asdict()) for name, bounds in named.items()}


def _calibration(options: RepairOptions, fit: _CrossFit, how: Folded | None) -> Calibration:
    fitted, labelled = fit.fitted, fit.labels is not None
    return Calibration(
        method=options.method,
        scale=fitted.affine.scale,
        bias=fitted.affine.bias,
        temperature=fitted.affine.temperature,
        se=fitted.se,
        status=fitted.status,
        split="all of them",
        images=len(fit.before),
        nll_before=fitted.nll_before if labelled else None,
        nll_after=fitted.nll_after if labelled else None,
        warnings=fitted.warnings if labelled else (),
        fold=how.how if how else "none",
        fold_reason=how.reason if how else None,
    )
