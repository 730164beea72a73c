"""Any ONNX classifier in our form: uint8 RGB images [N, 3, H, W] in, logits and probabilities out.

The inputs and outputs of the file are read from its graph and its types, never from values; the caller
provides what the graph does not say (the normalisation of a float input, an ambiguous layout).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import onnx
from pydantic import Field

from calkd_edge.errors import RecipeError
from calkd_edge.onnx_model.graph import class_names
from calkd_edge.onnx_model.image_input import adopt_inputs
from calkd_edge.onnx_model.outputs import wrap_outputs
from calkd_edge.onnx_model.read import read_onnx
from calkd_edge.onnx_model.reading import LARGEST_EDGE, Reading, Triple
from calkd_edge.onnx_model.standard_form import standard_form
from calkd_edge.onnx_model.validity import refused_if_invalid

_OPTION = re.compile(r"--(layout|mean|std|channels|image-size|scores-output|scores)\b")


Edge = Annotated[int, Field(ge=1, le=LARGEST_EDGE)]


@dataclass(frozen=True)
class Adopted:
    """A classifier in our form.

    Attributes:
        model: images uint8 [N, 3, H, W] -> logits, probabilities.
        image_shape: (3, H, W).
        classes: C.
        layout: of the file's input.
        channels: of the file's input, 3 or 1.
        mean: the mean that was put before a float input; None where the file normalises itself.
        std: likewise.
    """

    model: onnx.ModelProto
    image_shape: tuple[int, int, int]
    classes: int
    layout: str
    channels: int = 3
    mean: Triple | None = None
    std: Triple | None = None


def adopted_file(
    path: Path,
    *,
    layout: Literal["nchw", "nhwc"] | None = None,
    mean: tuple[float, float, float] | None = None,
    std: tuple[float, float, float] | None = None,
    channels: Literal["rgb", "bgr"] = "rgb",
    image_size: tuple[Edge, Edge] | None = None,
    scores_output: str | None = None,
    scores: Literal["logits", "probabilities"] | None = None,
) -> Adopted:
    """A classifier in an ONNX file from any framework, with our inputs and outputs.

    `layout` is read from the input's shape where that determines it; a float input needs `mean` and `std`, in
    fractions of 255. `channels` is the order in which the file takes them, `image_size` the (H, W) of a file
    that leaves it open, `scores_output` the output to use, and `scores` what that holds without a softmax.

    Raises:
        RecipeError: the file is not a readable ONNX classifier, or needs one of these settings.
    """
    reading = Reading(layout, mean, std, channels, image_size, scores_output, scores)
    try:
        with refused_if_invalid(path):
            return adopt(standard_form(read_onnx(path)), reading)
    except RecipeError as wrong:
        raise RecipeError(
            f"teacher.weights: {path}: {_as_keys(wrong.message)}", remedy=_as_keys(wrong.remedy)
        ) from wrong


def _as_keys(text: str) -> str:
    """A sentence about options of commands, for a recipe."""
    return _OPTION.sub(lambda option: f"teacher.{option[1].replace('-', '_')}", text)


def check_classes(adopted: Adopted, classes: Sequence[str], path: Path) -> None:
    """Refuse a model whose number or order of classes differs from the data's.

    Raises:
        RecipeError: naming the first classes that differ.
    """
    check_names(path, adopted.model, adopted.classes, classes)


def check_names(path: Path, model: onnx.ModelProto, count: int, classes: Sequence[str]) -> None:
    """Check a model with `count` classes as `check_classes` does; unknown names are not compared."""
    model_classes, data_classes = class_names(model), tuple(classes)
    if data_classes and count != len(data_classes):
        raise RecipeError(
            f"{path} has {count} classes, the data have {len(data_classes)}",
            remedy="Use the data that the model was trained for.",
        )
    if model_classes and data_classes and model_classes != data_classes:
        differing = next((a, b) for a, b in zip(model_classes, data_classes, strict=True) if a != b)
        raise RecipeError(
            f"{path} and the data name their classes differently: '{differing[0]}', '{differing[1]}'",
            remedy="Order and name the class folders as the model's metadata does.",
        )


def adopt(model: onnx.ModelProto, reading: Reading) -> Adopted:
    """Wrap a classifier in standard form, without changing its nodes.

    Args:
        model: one image input; logits, or a softmax of them, as an output [N, C].
        reading: what the file does not say.

    Raises:
        RecipeError: the graph does not determine the wrapping; the remedy names the option that does.
    """
    adopted = adopt_inputs(model, reading)
    classes = wrap_outputs(adopted.model, reading.output, reading.scores)
    normalisation = (reading.mean, reading.std) if adopted.is_float else (None, None)
    return Adopted(
        adopted.model, (3, *adopted.size), classes, adopted.layout, adopted.channels, *normalisation
    )
