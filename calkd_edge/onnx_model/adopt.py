"""Any ONNX classifier in our form: uint8 RGB images [N, 3, H, W] in, logits and probabilities out.

The inputs and outputs of the file are read from its graph and its types, never from values; the caller
provides what the graph does not say (the normalisation of a float input, an ambiguous layout).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import onnx
from pydantic import Field

from calkd_edge.errors import RecipeError
from calkd_edge.onnx_model.image_input import adopt_inputs
from calkd_edge.onnx_model.outputs import wrap_outputs
from calkd_edge.onnx_model.read import read_onnx
from calkd_edge.onnx_model.reading import LARGEST_EDGE, Reading, Triple
from calkd_edge.onnx_model.standard_form import standard_form
from calkd_edge.onnx_model.validity import refused_if_invalid

_OPTION = re.compile(
    r"--(?:(scores-output) (\S*\w)|(layout|mean|std|channels|image-size|scores)\b"
    r"(?: ([-\d.,]+(?:x\d+)?\b|R,G,B|nchw|nhwc|rgb|bgr|logits|probabilities))?)"
)
"""An option of a command, with its value where one stands behind it."""

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
        scores_are: what the file returns: logits, probabilities, softmax or log_softmax.
        names: of its classes in order, where the user gave them; else those in the file's metadata count.
    """

    model: onnx.ModelProto
    image_shape: tuple[int, int, int]
    classes: int
    layout: str
    channels: int = 3
    mean: Triple | None = None
    std: Triple | None = None
    scores_are: str = "logits"
    names: tuple[str, ...] = ()


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
    classes: tuple[str, ...] = (),
) -> Adopted:
    """A classifier in an ONNX file from any framework, with our inputs and outputs.

    `layout` is read from the input's shape where that determines it; a float input needs `mean` and `std`, in
    fractions of 255. `channels` is the order in which the file takes them, `image_size` the (H, W) of a file
    that leaves it open, `scores_output` the output to use, and `scores` what that holds without a softmax.
    `classes` are the names of its classes in its order, where its metadata do not say them.

    Raises:
        RecipeError: the file is not a readable ONNX classifier, or needs one of these settings.
    """
    reading = Reading(layout, mean, std, channels, image_size, scores_output, scores)
    try:
        with refused_if_invalid(path):
            return replace(adopt(standard_form(read_onnx(path)), reading), names=tuple(classes))
    except RecipeError as wrong:
        raise RecipeError(
            f"teacher.weights: {path}: {as_keys(wrong.message)}", remedy=as_keys(wrong.remedy)
        ) from wrong


def as_keys(text: str) -> str:
    """A sentence about options of commands, for the recipe of a teacher.

    Example:
        >>> as_keys("Add --scores probabilities, or --image-size 224; see --layout.")
        'Add --set teacher.scores=probabilities, or --set teacher.image_size=[224,224]; see teacher.layout.'
    """

    def key(option: re.Match[str]) -> str:
        name, value = option[1] or option[3], option[2] or option[4]
        if name == "image-size" and value:
            edges = value.split("x")
            value = f"{edges[0]},{edges[-1]}"
        assigned = "" if value is None else f"=[{value}]" if "," in value else f"={value}"
        return f"{'--set ' if assigned else ''}teacher.{name.replace('-', '_')}{assigned}"

    return _OPTION.sub(key, text)


def adopt(model: onnx.ModelProto, reading: Reading) -> Adopted:
    """Wrap a classifier in standard form, without changing its nodes.

    Args:
        model: one image input; logits, or a softmax of them, as an output [N, C].
        reading: what the file does not say.

    Raises:
        RecipeError: the graph does not determine the wrapping; the remedy names the option that does.
    """
    adopted = adopt_inputs(model, reading)
    ends = wrap_outputs(adopted.model, reading.output, reading.scores)
    normalisation = (reading.mean, reading.std) if adopted.is_float else (None, None)
    return Adopted(
        adopted.model,
        (3, *adopted.size),
        ends.classes,
        adopted.layout,
        adopted.channels,
        *normalisation,
        scores_are=ends.kind,
    )
