"""calibrate(): measure or repair the confidence of any ONNX classifier, or of saved predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from calkd_edge.errors import RecipeError, check_at_least
from calkd_edge.external_models.options import RepairOptions
from calkd_edge.external_models.predictions import read_predictions
from calkd_edge.external_models.repair import measure, repair
from calkd_edge.external_models.running import Reading
from calkd_edge.onnx_model.adopt import Triple
from calkd_edge.records import Json, Repair
from calkd_edge.release.report.repair_page import write_repair

THRESHOLDS = (0.5, 0.8, 0.9)


def calibrate(
    model: str | Path | None = None,
    data: str | Path | None = None,
    *,
    predictions: str | Path | None = None,
    method: str = "temperature",
    settings: Mapping[str, Json] | None = None,
    output: str | Path | None = None,
    root: str | Path | None = None,
    images: int | None = None,
    thresholds: Sequence[float] = THRESHOLDS,
    layout: str | None = None,
    mean: Triple | None = None,
    std: Triple | None = None,
    scores_output: str | None = None,
    scores: Literal["logits", "probabilities"] | None = None,
    seed: int = 17,
    threads: int = 1,
) -> Repair:
    """Confidence before and after calibration; with `output`, the calibrated file and a report beside it.

        result = calibrate("student.int8.cpu.onnx", "fashion_mnist_small", output="calibrated.onnx")
        print(result.before.ece.value, result.after.ece.value, result.calibration.temperature)

    Each image is scored with a map that was fitted to other images (5 folds); the file gets the map fitted to
    all of them.

    Args:
        model: an ONNX classifier, of any maker; or give `predictions`.
        data: for a model: a folder of class folders, a data set's name, or an .npz with inputs and labels.
        predictions: saved logits or probabilities with labels, .npz or .csv.
        method: a calibrator's name.
        settings: of that calibrator.
        output: where to write the calibrated file; None only measures.
        root: where a named data set is.
        images: at most this many, chosen by `seed`.
        thresholds: on confidence.
        layout: nchw or nhwc, if the file does not say.
        mean: per channel, in fractions of 255, for a float input.
        std: likewise.
        scores_output: the output that holds the scores, if several could.
        scores: what that output holds, if the file has no softmax.
        seed: of the choice of images, the folds and the bounds.
        threads: of the runtime.

    Raises:
        RecipeError: the file, the data or an option does not fit.
        StageFailed: the written file does not return what it must.
    """
    if (predictions is None) == (model is None):
        raise RecipeError(
            "give --predictions FILE or --model FILE, one of them",
            remedy="calkd-edge calibrate --model m.onnx --data DIR --output calibrated.onnx",
        )
    if scores not in (None, "logits", "probabilities"):
        raise RecipeError(f"--scores {scores}: not known", remedy="Valid: logits, probabilities.")
    check_at_least("--images", images, 2)
    check_at_least("--threads", threads, 1)
    check_at_least("--seed", seed, 0)
    target = _target(output)
    options = RepairOptions(method, settings or {}, _thresholds(thresholds), seed=seed)
    if predictions is not None:
        if target is not None:
            raise RecipeError(
                "--output: predictions hold no file to calibrate",
                remedy="Leave it out, or give a model and data instead of predictions.",
            )
        path = Path(predictions)
        return measure(read_predictions(path), options, source=path.name)
    if data is None or model is None:
        raise RecipeError("--model needs --data", remedy="Give --data DIR, a data set, or inputs.npz.")
    record = repair(
        Path(model),
        data,
        options,
        root=root,
        limit=images,
        reading=Reading(layout=layout, mean=mean, std=std, output=scores_output, scores=scores),
        threads=threads,
        output=target,
    )
    if target is not None:
        write_repair(record, *report_location(target))
    return record


def report_location(output: str | Path) -> tuple[Path, str]:
    """Folder and stem of the report beside a calibrated file."""
    target = Path(output)
    return target.parent, f"{target.stem}.calibration"


def _target(output: str | Path | None) -> Path | None:
    target = None if output is None else Path(output)
    if target is not None and target.suffix != ".onnx":
        raise RecipeError(
            f"--output {output}: not a file that ends in .onnx", remedy="Name a file that ends in .onnx."
        )
    return target


def _thresholds(thresholds: Sequence[float]) -> tuple[float, ...]:
    chosen = tuple(sorted(set(thresholds or THRESHOLDS)))
    for threshold in chosen:
        if not 0 < threshold < 1:
            raise RecipeError(f"--threshold {threshold:g}: not between 0 and 1", remedy="Use 0.8, say.")
    return chosen
