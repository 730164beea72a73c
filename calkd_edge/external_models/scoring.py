"""A classifier of any maker on its inputs: its predictions, and everything that was assumed about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from calkd_edge.data.pixels import RESIZE_NOTES, Resize
from calkd_edge.errors import DeviceError, RecipeError, did_you_mean, of_file
from calkd_edge.external_models.class_order import NAME_THEM, in_model_order, read_classes
from calkd_edge.external_models.inputs import Inputs, arrays_of, check_fit, images_of
from calkd_edge.external_models.running import RUN_FILE, Batches, first_predictions, runnable_file
from calkd_edge.metrics.class_order import better_order
from calkd_edge.onnx_model.adopt import Adopted
from calkd_edge.onnx_model.classifier_output import SAVED, ClassifierOutput, find_output
from calkd_edge.onnx_model.image_input import rescaling
from calkd_edge.onnx_model.reading import Reading
from calkd_edge.onnx_model.score_values import check_logits, check_probabilities
from calkd_edge.onnx_model.validity import unsupported_reason
from calkd_edge.records import Predictions

IN_255 = 0.05
"""A standard deviation below it, in fractions of 255, leaves pixels in about 0..255."""


@dataclass(frozen=True)
class DataOptions:
    """Which inputs a file gets.

    Attributes:
        data: a folder of class folders, a data set's name, or an .npz with inputs and labels.
        root: where a named data set is.
        limit: of images, drawn by the seed.
        seed: of the choice of images.
        classes: names of the model's classes in order, or a file of them.
        resize: how a photo of a folder becomes an image of the model's size.
    """

    data: str | Path
    root: str | Path | None = None
    limit: int | None = None
    seed: int = 17
    classes: str | Path | Sequence[str] | None = None
    resize: Resize = "crop"

    @property
    def resizes(self) -> bool:
        """Whether the images are photos of a folder."""
        return Path(self.data).is_dir()

    def check(self) -> None:
        """Refuse another name of `resize`, and one where nothing is resized.

        Raises:
            RecipeError: one of both.
        """
        if self.resize not in RESIZE_NOTES:
            names = ", ".join(RESIZE_NOTES)
            remedy = f"{did_you_mean(self.resize, RESIZE_NOTES)}Valid: {names}."
            raise RecipeError(f"--resize {self.resize}: no such way", remedy=remedy)
        if self.resize != "crop" and not self.resizes:
            raise RecipeError(
                f"--resize {self.resize}: {self.data} is no folder, whose images alone are resized",
                remedy="Leave --resize out.",
            )


@dataclass(frozen=True)
class Scored:
    """Predictions of a file, and how it was read.

    Attributes:
        predictions: labels are positions of the model's classes.
        inputs: of the file, with the names of the model's classes.
        batches: how many inputs it gets at once.
        assumed: what was inferred: "scores", "classes", "images", ... -> a sentence.
        cautions: where what was inferred may be wrong.
    """

    predictions: Predictions
    inputs: Inputs
    batches: Batches
    assumed: dict[str, str]
    cautions: tuple[str, ...]


def scored(
    path: Path, loaded: onnx.ModelProto, options: DataOptions, reading: Reading, work: Path, threads: int
) -> Scored:
    """Run a file, in standard form, on its inputs, and check what was inferred against the values.

    Raises:
        RecipeError: the file or the data does not fit.
        DeviceError: the runtime refuses the file.
    """
    classes = None if options.classes is None else read_classes(options.classes)
    ends = find_output(loaded, output=reading.output, scores=reading.scores)
    runnable, adopted = runnable_file(loaded, options.data, reading)
    limit, seed = options.limit, options.seed
    if adopted is None:
        reading.check()
        inputs = arrays_of(Path(options.data), work, limit=limit, seed=seed)
        check_fit(inputs, runnable)
    else:
        shape, resize = adopted.image_shape, options.resize
        inputs = images_of(options.data, options.root, shape, work, limit=limit, seed=seed, resize=resize)
    inputs, order = in_model_order(path, loaded, ends.classes, inputs, classes)
    try:
        predictions, batches = first_predictions(loaded, runnable, inputs, work, threads)
    except DeviceError as refused:
        reason = unsupported_reason(loaded)
        if reason is not None:
            remedy = "Export it for opset 17, with ONNX's own operators."
            raise RecipeError(f"{path} cannot be run: {reason}", remedy=remedy) from refused
        raise of_file(refused, RUN_FILE, path) from refused
    all_cautions = [
        order.caution,
        _normalised_twice(loaded, adopted),
        batches.caution,
        _checked_values(path, ends, predictions, reading),
    ]
    logits, labels = predictions.logits, inputs.labels
    if labels is not None and 0 <= labels.min() <= labels.max() < ends.classes and not np.isnan(logits).any():
        other = better_order(logits, labels, inputs.classes)
        all_cautions.append(other and f"{other}. If the order is wrong, {NAME_THEM}")
    if ends.softmaxes > 1:
        all_cautions.append(
            f"the file takes softmax {ends.softmaxes} times, which squeezes its confidences together"
        )
    assumed = {
        "scores": _scores(ends, reading),
        "classes": order.how,
        **_image_lines(adopted, reading, options),
        "batch": batches.description,
        "images": inputs.part + (f"; left out: {inputs.left_out}" if inputs.left_out else ""),
    }
    return Scored(predictions, inputs, batches, assumed, tuple(filter(None, all_cautions)))


def _normalised_twice(loaded: onnx.ModelProto, adopted: Adopted | None) -> str | None:
    """A caution where a file that takes float pixels in 0..255 gets smaller ones."""
    if adopted is None or adopted.std is None or min(adopted.std) < IN_255:
        return None
    first = rescaling(loaded)
    if first is None:
        return None
    return (
        f"the file begins with a {first}, as if it took pixels in 0..255 and normalised them itself. If so, "
        "use --mean 0,0,0 --std 0.00392157,0.00392157,0.00392157"
    )


def _checked_values(
    path: Path, ends: ClassifierOutput, predictions: Predictions, reading: Reading
) -> str | None:
    where = f"{path.name}, output '{ends.scores}'"
    per_cent = f"Divide them by 100 and {SAVED}"
    if ends.kind == "probabilities":
        return check_probabilities(predictions.logits, where, per_cent=per_cent)
    if ends.kind != "logits":
        return None
    return check_logits(
        predictions.logits,
        where,
        insisted=reading.scores == "logits",
        remedy="Add --scores probabilities",
        per_cent=per_cent,
    )


def _scores(ends: ClassifierOutput, reading: Reading) -> str:
    if reading.scores == ends.kind:
        return f"'{ends.scores}' holds {ends.kind}, as --scores says"
    return {
        "logits": f"no softmax was found before '{ends.scores}', so its values are read as logits; they do "
        "not look like probabilities",
        "softmax": f"'{ends.scores}' is the softmax of the logits '{ends.logits}'"
        + ("; the file rounds it afterwards, what is scored is not rounded" if ends.rounds else ""),
        "log_softmax": f"'{ends.scores}' is the logarithm of the softmax of the logits '{ends.logits}'",
        "probabilities": f"'{ends.scores}' holds probabilities; each row sums to 1",
    }[ends.kind]


def _image_lines(adopted: Adopted | None, reading: Reading, options: DataOptions) -> dict[str, str]:
    normalises = reading.mean is not None or reading.std is not None
    if adopted is None:
        unused = normalises or reading.layout or reading.channels != "rgb"
        ignored = "; --mean, --std, --layout and --channels are not used" if unused else ""
        return {"input": f"arrays exactly as in the .npz{ignored}"}
    height, width = adopted.image_shape[1:]
    order = "RGB" if reading.channels == "rgb" else "BGR, as --channels says"
    if adopted.channels == 1:
        order = "one grey channel: luma of the images (ITU-R BT.601)"
    elif reading.channels == "rgb":
        order += "; if it takes BGR, add --channels bgr"
    if adopted.mean is not None and adopted.std is not None:
        mean, std = (", ".join(f"{number:g}" for number in triple) for triple in (adopted.mean, adopted.std))
        normalisation = f"(pixel / 255 - mean) / std, mean {mean}, std {std} (red, green, blue)"
    else:
        unused = "; --mean and --std are not used" if normalises else ""
        normalisation = f"none: the file takes whole pixels 0..255{unused}"
    return {
        "input": f"{adopted.layout}, {height}x{width} pixels{_resizing(options)}",
        "channels": order,
        "normalisation": normalisation,
    }


def _resizing(options: DataOptions) -> str:
    if not options.resizes:
        return ""
    others = ", ".join(name for name in RESIZE_NOTES if name != options.resize)
    return f", {RESIZE_NOTES[options.resize]}, bilinear; if it was tested otherwise, add --resize ({others})"
