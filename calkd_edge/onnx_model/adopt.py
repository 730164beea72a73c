"""Any ONNX classifier in our form: uint8 RGB images [N, 3, H, W] in, logits and probabilities out.

The inputs and outputs of the file are read from its graph and its types, never from values; the caller
provides what the graph does not say (the normalisation of a float input, an ambiguous layout).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from onnx import TensorProto, helper

from calkd_edge.errors import RecipeError
from calkd_edge.onnx_model.graph import class_names, copy_of
from calkd_edge.onnx_model.names import INPUT
from calkd_edge.onnx_model.outputs import Scores, single_input, wrap_outputs
from calkd_edge.onnx_model.read import read_onnx

Triple = Sequence[float]
_FLOATS = {TensorProto.FLOAT: np.float32, TensorProto.FLOAT16: np.float16}


@dataclass(frozen=True)
class Adopted:
    """A classifier in our form.

    Attributes:
        model: images uint8 [N, 3, H, W] -> logits, probabilities.
        image_shape: (3, H, W).
        classes: C.
        layout: of the file's input.
        mean: the mean that was put before a float input; None where the file normalises itself.
        std: likewise.
    """

    model: onnx.ModelProto
    image_shape: tuple[int, int, int]
    classes: int
    layout: str
    mean: Triple | None = None
    std: Triple | None = None


def adopted_file(
    path: Path,
    *,
    layout: Literal["nchw", "nhwc"] | None = None,
    mean: tuple[float, float, float] | None = None,
    std: tuple[float, float, float] | None = None,
) -> Adopted:
    """A classifier in an ONNX file from any framework, with our inputs and outputs.

    `layout` is read from the input's shape where that determines it; a float input needs `mean` and `std`, in
    fractions of 255.

    Raises:
        RecipeError: the file is not a readable ONNX classifier, or needs one of these settings.
    """
    return adopt(read_onnx(path), layout=layout, mean=mean, std=std)


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


def adopt(
    model: onnx.ModelProto,
    *,
    layout: str | None = None,
    mean: Triple | None = None,
    std: Triple | None = None,
    output: str | None = None,
    scores: Scores | None = None,
) -> Adopted:
    """Wrap a classifier, without changing its nodes.

    Args:
        model: one image input; logits, or a softmax of them, as an output [N, C].
        layout: nchw or nhwc; read from the shape when None.
        mean: per channel as a fraction of 255; needed for a float input.
        std: likewise.
        output: name of the output with the scores, where there are several candidates.
        scores: what that output holds, where it is not a softmax.

    Raises:
        RecipeError: the graph does not determine the wrapping; the remedy names the option that does.
    """
    adopted, input_layout, size, normalises = adopt_inputs(model, layout=layout, mean=mean, std=std)
    classes = wrap_outputs(adopted, output, scores)
    onnx.checker.check_model(adopted)
    normalisation = (None, None) if normalises else (mean, std)
    return Adopted(adopted, (3, *size), classes, input_layout, *normalisation)


def adopt_inputs(
    model: onnx.ModelProto,
    *,
    layout: str | None = None,
    mean: Triple | None = None,
    std: Triple | None = None,
) -> tuple[onnx.ModelProto, str, tuple[int, int], bool]:
    """The same model for uint8 images [N, 3, H, W], with its outputs unchanged.

    Returns:
        The model, its layout, (H, W), and whether it normalises images itself.

    Raises:
        RecipeError: the graph does not determine the wrapping; the remedy names the option that does.
    """
    adopted = copy_of(model)
    graph = adopted.graph
    image_input = single_input(graph)
    shape = [dim.dim_value for dim in image_input.type.tensor_type.shape.dim]
    element_type = image_input.type.tensor_type.elem_type
    input_layout = _layout(shape, layout)
    height, width = (shape[2], shape[3]) if input_layout == "nchw" else (shape[1], shape[2])
    if not height or not width:
        raise RecipeError(
            f"the model leaves the image size open ({shape})",
            remedy="Export it with a fixed height and width; only the batch size may be dynamic.",
        )
    if element_type != TensorProto.UINT8 and element_type not in _FLOATS:
        raise RecipeError(
            f"the model's input is {TensorProto.DataType.Name(element_type)}",
            remedy="Export it with an input of type uint8, float16 or float32.",
        )
    is_our_form = image_input.name == INPUT and element_type == TensorProto.UINT8 and input_layout == "nchw"
    if not is_our_form:
        _wrap_input(graph, image_input, element_type, input_layout, (height, width), mean, std)
    return adopted, input_layout, (height, width), is_our_form or element_type not in _FLOATS


def _layout(shape: list[int], requested: str | None) -> str:
    """The layout of an input: as requested where the shape (0: open) allows it, else from the shape.

    Raises:
        RecipeError: the shape is not that of images, contradicts the request, or is ambiguous.
    """
    if len(shape) != 4:
        raise RecipeError(
            f"the model's input has shape {shape}, images have 4 axes",
            remedy="Export the model with an input [N, 3, H, W] or [N, H, W, 3].",
        )
    if requested is not None:
        channel_sizes = {"nchw": shape[1], "nhwc": shape[3]}
        if requested not in channel_sizes:
            raise RecipeError(f"--layout {requested}: unknown layout", remedy="Valid layouts: nchw, nhwc.")
        if channel_sizes[requested] not in (0, 3):
            raise RecipeError(
                f"--layout {requested}: the model's input {shape} would have {channel_sizes[requested]} "
                "channels instead of 3",
                remedy=f"Omit the option, or use --layout {'nhwc' if requested == 'nchw' else 'nchw'}.",
            )
        return requested
    first, last = shape[1] == 3, shape[3] == 3
    if first == last:
        raise RecipeError(
            f"the shape {shape} of the model's input does not tell which axis holds the channels",
            remedy="Add --layout nchw or nhwc.",
        )
    return "nchw" if first else "nhwc"


def _wrap_input(
    graph: onnx.GraphProto,
    image_input: onnx.ValueInfoProto,
    element_type: int,
    layout: str,
    size: tuple[int, int],
    mean: Triple | None,
    std: Triple | None,
) -> None:
    """Put a cast, the normalisation and a transposition before the file's input."""
    nodes = []
    current = INPUT if image_input.name != INPUT else "adopted_images"
    if element_type in _FLOATS:
        if mean is None or std is None:
            raise RecipeError(
                "the model takes float images, and the file does not say how they are normalised",
                remedy="Add --mean R,G,B --std R,G,B in fractions of 255: 0,0,0 and 1,1,1 for 0..1.",
            )
        if not all(deviation > 0 for deviation in std):
            raise RecipeError(
                f"--std {','.join(map(str, std))}: pixels are divided by it", remedy="Use numbers above 0."
            )
        for name, triple in (("adopted_mean", mean), ("adopted_std", std)):
            values = 255 * np.asarray(triple, dtype=np.float32).reshape(1, 3, 1, 1)
            graph.initializer.append(onnx.numpy_helper.from_array(values, name))
        nodes += [
            helper.make_node("Cast", [current], ["adopted_float"], "adopted_cast", to=TensorProto.FLOAT),
            helper.make_node("Sub", ["adopted_float", "adopted_mean"], ["adopted_centred"], "adopted_sub"),
            helper.make_node(
                "Div", ["adopted_centred", "adopted_std"], ["adopted_normalised"], "adopted_div"
            ),
        ]
        last = "adopted_normalised"
        if element_type == TensorProto.FLOAT16:
            nodes.append(helper.make_node("Cast", [last], ["adopted_half"], "adopted_half", to=element_type))
            last = "adopted_half"
    else:
        last = current
    perm = [0, 2, 3, 1] if layout == "nhwc" else [0, 1, 2, 3]
    nodes.append(helper.make_node("Transpose", [last], [image_input.name], "adopted_layout", perm=perm))
    batch = image_input.type.tensor_type.shape.dim[0]
    shape = [batch.dim_value or batch.dim_param or "batch", 3, *size]
    outer = helper.make_tensor_value_info(current, TensorProto.UINT8, shape)
    others = [value for value in graph.input if value.name != image_input.name]
    model_nodes = list(graph.node)
    del graph.input[:]
    graph.input.extend([outer, *others])
    del graph.node[:]
    graph.node.extend([*nodes, *model_nodes])
