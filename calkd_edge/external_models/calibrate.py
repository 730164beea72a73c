"""calibrate(): measure or repair the confidence of any ONNX classifier, or of saved predictions."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from calkd_edge.data.pixels import Resize
from calkd_edge.errors import RecipeError, check_at_least
from calkd_edge.external_models.options import RepairOptions
from calkd_edge.external_models.predictions import read_predictions
from calkd_edge.external_models.repair import measure, repair
from calkd_edge.external_models.scoring import DataOptions
from calkd_edge.files.full_disk import Place, naming_full_disk, temporary_place
from calkd_edge.onnx_model.reading import Reading, Scores, Triple
from calkd_edge.onnx_model.validity import refused_if_invalid
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
    classes: str | Path | Sequence[str] | None = None,
    layout: str | None = None,
    mean: Triple | None = None,
    std: Triple | None = None,
    channels: str = "rgb",
    image_size: tuple[int, int] | None = None,
    resize: Resize = "crop",
    scores_output: str | None = None,
    scores: Scores | None = None,
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
        classes: the names of the model's classes in its order, or a text file with one on each line; by
            default those in the file's metadata, else the order of the data.
        layout: nchw or nhwc, if the file does not say.
        mean: of red, green and blue, in fractions of 255, for a float input.
        std: likewise.
        channels: rgb or bgr, the order in which the file takes them.
        image_size: (H, W), if the file leaves it open.
        resize: how photos of a folder get the model's size: crop (middle square), center_crop (7/8 of its
            sides: resize to 256, cut to 224), pad (black bars) or stretch.
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
    reading = Reading(layout, mean, std, channels, image_size, scores_output, scores)
    reading.check()
    check_at_least("--images", images, 2)
    check_at_least("--threads", threads, 1)
    check_at_least("--seed", seed, 0)
    options = RepairOptions(method, settings or {}, _thresholds(thresholds), seed=seed)
    if predictions is not None:
        others: dict[str, object] = {"--output": output, "--data": data, "--images": images, "--root": root}
        others |= {
            "--resize": None if resize == "crop" else resize,
            "--classes": classes,
            "--threads": None if threads == 1 else threads,
        }
        _refuse_with_predictions({**others, **_options_of(reading)})
        path = Path(predictions)
        return measure(read_predictions(path), options, source=path.name)
    if data is None or model is None:
        raise RecipeError("--model needs --data", remedy="Give --data DIR, a data set, or inputs.npz.")
    inputs = DataOptions(data, root, images, seed, classes, resize)
    inputs.check()
    target = _target(output, Path(model))
    with refused_if_invalid(Path(model)), naming_full_disk(*_places(target)):
        record = repair(Path(model), inputs, options, reading=reading, threads=threads, output=target)
        if target is not None:
            write_repair(record, *report_location(target))
    return record


def report_location(output: str | Path) -> tuple[Path, str]:
    """Folder and stem of the report beside a calibrated file."""
    target = Path(output)
    return target.parent, f"{target.stem}.calibration"


def _refuse_with_predictions(options: Mapping[str, object]) -> None:
    """Refuse options of a model that were given beside predictions; None where they were not."""
    for option, value in options.items():
        if value is not None:
            raise RecipeError(
                f"{option}: predictions are complete, and no model is run",
                remedy=f"Leave {option} out, or give --model and --data instead of --predictions.",
            )


def _options_of(reading: Reading) -> dict[str, object]:
    """The options that describe a file, None where they were not given."""
    return {
        "--layout": reading.layout,
        "--mean": reading.mean,
        "--std": reading.std,
        "--channels": None if reading.channels == "rgb" else reading.channels,
        "--image-size": reading.image_size,
        "--scores-output": reading.output,
        "--scores": reading.scores,
    }


def _places(target: Path | None) -> list[Place]:
    """The folders that are written to."""
    remedy = "Free space, or name another file: --output FILE"
    return [temporary_place(), *([] if target is None else [Place(target.parent, remedy)])]


def _target(output: str | Path | None, model: Path) -> Path | None:
    """The file to write, in a folder that exists then; refused before any work where that cannot be."""
    if output is None:
        return None
    target, fix = Path(output), "Name a file in a folder of yours: --output calibrated.onnx"
    if target.suffix != ".onnx":
        raise RecipeError(f"--output {output}: not a file that ends in .onnx", remedy=fix)
    try:
        if target.exists() and model.exists() and target.samefile(model):
            raise RecipeError(
                f"--output {output}: this is the given model, which would be replaced", remedy=fix
            )
        if target.is_dir():
            raise RecipeError(f"--output {output}: this is a folder", remedy=fix)
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=target.parent):
            pass
    except (OSError, ValueError) as wrong:
        raise RecipeError(f"--output {output}: cannot be written: {wrong}", remedy=fix) from None
    return target


def _thresholds(thresholds: Sequence[float]) -> tuple[float, ...]:
    chosen = tuple(sorted(set(thresholds or THRESHOLDS)))
    for threshold in chosen:
        if not 0 < threshold < 1:
            raise RecipeError(f"--threshold {threshold:g}: not between 0 and 1", remedy="Use 0.8, say.")
    return chosen
