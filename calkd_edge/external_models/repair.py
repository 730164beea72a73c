"""Measure a classifier's confidence, fit a calibration to it, fold it into its file, and prove the fold."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from calkd_edge.calibration import CALIBRATORS
from calkd_edge.calibration.crossfit import FOLDS, cross_fitted
from calkd_edge.calibration.fitted import Fitted
from calkd_edge.errors import RecipeError
from calkd_edge.export.proof import prove
from calkd_edge.external_models.answers import Answers
from calkd_edge.external_models.running import (
    Reading,
    as_given,
    given_inputs,
    predicted,
    run_file,
    runnable_file,
)
from calkd_edge.external_models.sentences import sentences
from calkd_edge.external_models.unchanged import check_returned
from calkd_edge.files import replacing, sha256_of
from calkd_edge.metrics import intervals, quality
from calkd_edge.metrics import per_image as scores
from calkd_edge.onnx_model.adopt import check_names
from calkd_edge.onnx_model.classifier_output import ClassifierOutput, find_output
from calkd_edge.onnx_model.fold import Folded, LogitsValue, fold_at
from calkd_edge.onnx_model.graph import copy_of
from calkd_edge.onnx_model.logit_readers import computes_label_separately, refuse_other_readers
from calkd_edge.onnx_model.read import read_onnx
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
"""Of float16, relative: half a unit for each of two files that round."""


@dataclass(frozen=True)
class Asked:
    """What to fit and how to judge it.

    Attributes:
        method: a calibrator's name.
        settings: of that calibrator.
        thresholds: on confidence.
        folds: of cross-fitting.
        seed: of every draw.
    """

    method: str = "temperature"
    settings: Mapping[str, Any] = field(default_factory=dict)
    thresholds: tuple[float, ...] = (0.5, 0.8, 0.9)
    folds: int = FOLDS
    seed: int = 17

    def fit(self, classes: tuple[str, ...]) -> Any:
        """logits, labels -> Fitted."""
        settings = CALIBRATORS.settings(self.method, dict(self.settings), where="--method")
        calibrator = CALIBRATORS.load(self.method, where="--method")
        return lambda logits, labels: calibrator(logits, labels, classes, **settings)


def measure(answers: Answers, asked: Asked, *, source: str) -> Repair:
    """Confidence of saved predictions before and after calibration.

    Raises:
        RecipeError: logits or labels that cannot be scored, or a method that does not fit them.
    """
    found = _scored(answers.logits, answers.labels, answers.classes, asked, source)
    return _record(found, asked, source=source, data=source, classes=answers.classes)


def repair(
    model: Path,
    data: str,
    asked: Asked,
    *,
    root: Path | None = None,
    limit: int | None = None,
    reading: Reading | None = None,
    threads: int = 1,
    output: Path | None = None,
) -> Repair:
    """Confidence of an ONNX classifier before and after calibration; with `output`, the calibrated file.

    The written file has the inputs and outputs of the one that was given; only the numbers behind its logits
    differ. It is run on the same inputs and held against the calibration applied by hand.

    Args:
        model: the file.
        data: a folder of class folders, a data set's name, or an .npz with inputs and labels.
        asked: what to fit.
        root: where a named data set lies.
        limit: of images, drawn by the seed.
        reading: what the file does not say.
        threads: of the runtime.
        output: where to write the calibrated file.

    Raises:
        RecipeError: the file or the data are not what is needed.
        StageFailed: the folded file does not return what it must.
    """
    reading = reading or Reading()
    loaded, given_sha256 = read_onnx(model), sha256_of(model)
    ends = find_output(loaded, output=reading.output, scores=reading.scores)
    refuse_other_readers(loaded, ends)
    if computes_label_separately(loaded, ends) and asked.method not in ("temperature", "constant"):
        raise RecipeError(
            f"--method {asked.method} can move answers, and the file's own label would not follow",
            remedy="Take temperature, which moves none.",
        )
    with tempfile.TemporaryDirectory(prefix="calkd-calibrate-") as folder:
        work = Path(folder)
        runnable, given = given_inputs(loaded, data, root, reading, work, limit, asked.seed)
        check_names(model, loaded, ends.classes, given.classes)
        raw = predicted(runnable, given, work, threads)
        classes = given.classes or tuple(str(number) for number in range(ends.classes))
        found = _scored(raw.logits, given.labels, classes, asked, model.name)
        folded, how = folded_copy(loaded, ends, found.fitted.affine)
        proof = None
        if how.how != "none":
            after = predicted(runnable_file(folded, data, reading)[0], given, work, threads)
            rounding = HALF_ROUNDING if ends.half else 0.0
            proof = prove(raw, after, _calibration(asked, found, how), rounding=rounding)
            shipped = [
                run_file(as_given(one, data, reading), given, work, threads) for one in (loaded, folded)
            ]
            by_hand = found.fitted.affine.apply(raw.logits)
            check_returned(shipped[0], shipped[1], ends, raw=raw.logits, calibrated=by_hand)
    written = None
    if output is not None:
        with replacing(output) as temporary:
            onnx.save(folded, temporary)
        written = RepairedFile(name=output.name, sha256=sha256_of(output), size_bytes=output.stat().st_size)
    end = FileEnd(logits=ends.logits, scores=ends.scores, kind=ends.kind, softmaxes=ends.softmaxes)
    record = _record(found, asked, source=model.name, data=given.part, classes=classes, how=how, end=end)
    calibration = record.calibration.model_copy(update={"proof": proof})
    changes = {"calibration": calibration, "file": written, "sha256": given_sha256}
    return record.model_copy(update=changes)


def folded_copy(
    model: onnx.ModelProto, ends: ClassifierOutput, affine: Affine
) -> tuple[onnx.ModelProto, Folded]:
    """The same file with the calibration inside, and how it got there."""
    folded = copy_of(model)
    return folded, fold_at(folded, affine, LogitsValue.of(ends))


@dataclass(frozen=True)
class _Found:
    """What was fitted, and the logits before and after on images that the fit has not seen."""

    fitted: Fitted
    before: FloatArray
    after: FloatArray
    labels: IntArray | None


def _scored(
    logits: FloatArray, labels: IntArray | None, classes: tuple[str, ...], asked: Asked, source: str
) -> _Found:
    """`_fitted`, with what cannot be scored told by the name of the file."""
    if len(logits) < FEWEST:
        raise RecipeError(f"{source}: {len(logits)} images are too few to learn from", remedy="Give more.")
    try:
        if labels is not None:
            scores.checked(logits, labels)
        return _fitted(logits, labels, classes, asked)
    except ValueError as wrong:
        remedy = "Check the labels, and what the file returns."
        raise RecipeError(f"{source}: {wrong}", remedy=remedy) from None


def _fitted(logits: FloatArray, labels: IntArray | None, classes: tuple[str, ...], asked: Asked) -> _Found:
    fit = asked.fit(classes)
    if labels is None:
        return _without_labels(logits, classes, asked)
    fitted, after = cross_fitted(fit, logits, labels, folds=asked.folds, seed=asked.seed)
    return _Found(fitted, logits, after, labels)


def _without_labels(logits: FloatArray, classes: tuple[str, ...], asked: Asked) -> _Found:
    """Only a map that is not fitted can do without labels."""
    if asked.method != "constant":
        raise RecipeError(
            f"--method {asked.method} is fitted to labels, and these inputs have none",
            remedy="Give labels, or --method constant --set temperature=T.",
        )
    # Any labels will do: a constant looks at them for the NLL alone, which is then left out.
    told: Fitted = asked.fit(classes)(logits, scores.top1(logits))
    return _Found(told, logits, told.affine.apply(logits), None)


def _record(
    found: _Found,
    asked: Asked,
    *,
    source: str,
    data: str,
    classes: tuple[str, ...],
    how: Folded | None = None,
    end: FileEnd | None = None,
) -> Repair:
    labels = found.labels
    before = after = None
    changes: dict[str, Estimate | None] = dict.fromkeys(("nll_change", "brier_change", "top1_change"))
    if labels is not None:
        before, after = (_quality(logits, labels, asked) for logits in (found.before, found.after))
        changes = _changes(found.before, found.after, labels, asked.seed)
    record = Repair(
        source=source,
        sha256=None,
        data=data,
        images=len(found.before),
        classes=classes,
        settings=dict(asked.settings),
        folds=0 if labels is None or asked.method == "constant" else min(asked.folds, len(labels)),
        end=end,
        before=before,
        after=after,
        mean_confidence_before=float(scores.confidence(found.before).mean()),
        mean_confidence_after=float(scores.confidence(found.after).mean()),
        calibration=_calibration(asked, found, how),
        file=None,
        sentences=(),
        **changes,
    )
    return record.model_copy(update={"sentences": sentences(record)})


def _quality(logits: FloatArray, labels: IntArray, asked: Asked) -> Quality:
    return quality(logits, labels, seed=asked.seed, thresholds=asked.thresholds)


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
    right, was = (scores.top1(logits) == labels for logits in (after, before))
    top1 = intervals.tango(int((right & ~was).sum()), int((was & ~right).sum()), len(labels))
    named = {"nll_change": nll, "brier_change": brier, "top1_change": top1}
    return {name: Estimate(**bounds._asdict()) for name, bounds in named.items()}


def _calibration(asked: Asked, found: _Found, how: Folded | None) -> Calibration:
    fitted, labelled = found.fitted, found.labels is not None
    return Calibration(
        method=asked.method,
        scale=fitted.affine.scale,
        bias=fitted.affine.bias,
        temperature=fitted.affine.temperature,
        se=fitted.se,
        status=fitted.status,
        split="all of them",
        images=len(found.before),
        nll_before=fitted.nll_before if labelled else None,
        nll_after=fitted.nll_after if labelled else None,
        warnings=fitted.warnings if labelled else (),
        fold=how.how if how else "none",
        fold_reason=how.reason if how else None,
    )
