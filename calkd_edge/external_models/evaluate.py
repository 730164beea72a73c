"""evaluate(): score any ONNX classifier on labelled images, through the agent."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from calkd_edge.data.pixels import Resize
from calkd_edge.errors import RecipeError, check_at_least
from calkd_edge.external_models.scoring import DataOptions, scored
from calkd_edge.files.scratch import ScratchFolder
from calkd_edge.metrics import quality
from calkd_edge.onnx_model.read import read_onnx
from calkd_edge.onnx_model.reading import Reading, Scores, Triple
from calkd_edge.onnx_model.standard_form import standard_form
from calkd_edge.onnx_model.validity import refused_if_invalid
from calkd_edge.records import Evaluation


def evaluate(
    model: str | Path,
    data: str | Path,
    *,
    root: str | Path | None = None,
    images: int | None = None,
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
) -> Evaluation:
    """The figures of an ONNX classifier: top-1, NLL, Brier and calibration errors with their bounds.

        result = evaluate("student.int8.cpu.onnx", "fashion_mnist_small")
        print(result.top1.value, result.ece.high, result.data, result.assumed)

    Args:
        model: the ONNX file, of any maker.
        data: a folder of class folders, all of it, or its test part if it has one; the name of a data set,
            of which the test images are used; or an .npz with inputs and labels. `data` of the result says
            which images these are.
        root: where a named data set is.
        images: at most this many, chosen by `seed`.
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
        seed: of the choice of images and of the bounds.
        threads: of the runtime.

    Raises:
        RecipeError: the file or the data does not fit.
        EnvironmentProblem: the data set cannot be downloaded.
    """
    check_at_least("--images", images, 2)
    check_at_least("--threads", threads, 1)
    check_at_least("--seed", seed, 0)
    path = Path(model)
    reading = Reading(layout, mean, std, channels, image_size, scores_output, scores)
    reading.check()
    options = DataOptions(data, root, images, seed, classes, resize)
    options.check()
    with ScratchFolder("evaluate") as folder, refused_if_invalid(path):
        loaded = standard_form(read_onnx(path))
        result = scored(path, loaded, options, reading, folder, threads)
    if result.inputs.labels is None:
        raise RecipeError(f"{data} has no labels", remedy="Save labels [N] beside the inputs.")
    if len(result.inputs.labels) < 2:
        raise RecipeError(f"{data} holds 1 image: bounds need several", remedy="Give at least 2 images.")
    try:
        figures = quality(result.predictions.logits, result.inputs.labels, seed=seed)
    except ValueError as wrong:
        remedy = "Check the labels, and the outputs of the file."
        raise RecipeError(f"{path.name}: {wrong}", remedy=remedy) from None
    return Evaluation(
        **dict(figures), data=result.inputs.part, assumed=result.assumed, cautions=result.cautions
    )


def parse_triple(option: str, text: str | None) -> Triple | None:
    """Three numbers from "0.5,0.5,0.5"; None for None.

    Raises:
        RecipeError: not three numbers.
    """
    if text is None:
        return None
    try:
        red, green, blue = (float(part) for part in text.split(","))
    except ValueError:
        raise RecipeError(
            f"{option} {text}: not three numbers", remedy=f"Write {option} 0.485,0.456,0.406"
        ) from None
    return red, green, blue


def parse_size(text: str | None) -> tuple[int, int] | None:
    """(H, W) from "224" or "224x160"; None for None.

    Raises:
        RecipeError: not one or two whole numbers.
    """
    if text is None:
        return None
    try:
        height, *width = (int(part) for part in text.lower().split("x"))
        (width_only,) = width or [height]
    except ValueError:
        raise RecipeError(
            f"--image-size {text}: not a size", remedy="Write --image-size 224, or 224x160 (height x width)."
        ) from None
    return height, width_only
