"""evaluate(): score any ONNX classifier on labelled images, through the agent."""

from __future__ import annotations

import tempfile
from pathlib import Path

from calkd_edge.errors import RecipeError, check_at_least
from calkd_edge.external_models.inputs import images_of
from calkd_edge.external_models.running import predictions_of
from calkd_edge.metrics import quality
from calkd_edge.onnx_model.adopt import Triple, adopt, check_classes
from calkd_edge.onnx_model.read import read_onnx
from calkd_edge.records import Evaluation


def evaluate(
    model: str | Path,
    data: str | Path,
    *,
    root: str | Path | None = None,
    images: int | None = None,
    layout: str | None = None,
    mean: Triple | None = None,
    std: Triple | None = None,
    seed: int = 17,
    threads: int = 1,
) -> Evaluation:
    """The figures of an ONNX classifier: top-1, NLL, Brier and calibration errors with their bounds.

        result = evaluate("student.int8.cpu.onnx", "fashion_mnist_small")
        print(result.top1.value, result.ece.high, result.data)

    Args:
        model: the ONNX file, of any maker.
        data: a folder of class folders, all of it, or its test part if it has one; or the name of a data set,
            of which the test images are used. `data` of the result says which images these are.
        root: where a named data set is.
        images: at most this many, chosen by `seed`.
        layout: nchw or nhwc, if the file does not say.
        mean: per channel, in fractions of 255, for a float input.
        std: likewise.
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
    adopted = adopt(read_onnx(path), layout=layout, mean=mean, std=std)
    with tempfile.TemporaryDirectory(prefix="calkd-evaluate-") as folder:
        inputs = images_of(data, root, adopted.image_shape, Path(folder), limit=images, seed=seed)
        check_classes(adopted, inputs.classes, path)
        predictions = predictions_of(adopted.model, inputs, Path(folder), threads)
    try:
        scored = quality(predictions.logits, predictions.labels, seed=seed)
    except ValueError as wrong:
        remedy = "Check the labels, and the outputs of the file."
        raise RecipeError(f"{path.name}: {wrong}", remedy=remedy) from None
    return Evaluation(**dict(scored), data=inputs.part)


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
