"""Any ONNX classifier in our form: uint8 RGB images [N, 3, H, W] in, logits and probabilities out.

What the file takes and gives is read from its graph and its types, never from values; what the graph cannot
say (the normalisation of a float input, an ambiguous layout) is asked for.
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
from calkd_edge.onnx_model.outputs import Scores, one_input, wrap_outputs
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
        layout: of the file's own input.
        mean: what was put in front of a float input; None where the file normalises itself.
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
    """A classifier in an ONNX file of any framework, in our form.

    `layout` is read from the input's shape where it says; `mean` and `std`, in fractions of 255, are needed
    for a float input.

    Raises:
        RecipeError: no readable ONNX classifier, or the graph does not say enough.
    """
    return adopt(read_onnx(path), layout=layout, mean=mean, std=std)


def check_classes(adopted: Adopted, classes: Sequence[str], path: Path) -> None:
    """Refuse another number or order of classes than the data's.

    Raises:
        RecipeError: with the first that differ.
    """
    check_names(path, adopted.model, adopted.classes, classes)


def check_names(path: Path, model: onnx.ModelProto, count: int, classes: Sequence[str]) -> None:
    """`check_classes` for a model with `count` classes; names that are not known are not compared."""
    own, theirs = class_names(model), tuple(classes)
    if theirs and count != len(theirs):
        raise RecipeError(
            f"{path} has {count} classes, the data {len(theirs)}", remedy="Take the data it was made for."
        )
    if own and theirs and own != theirs:
        differing = next((a, b) for a, b in zip(own, theirs, strict=True) if a != b)
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
    """Wrap a classifier; its own nodes stay as they are.

    Args:
        model: one image input; logits, or a softmax of them, as an output [N, C].
        layout: nchw or nhwc; read from the shape when None.
        mean: per channel as a fraction of 255; needed for a float input.
        std: likewise.
        output: name of the output of scores, where several could be it.
        scores: what that output is, where it is no softmax.

    Raises:
        RecipeError: the graph does not say enough, with the option that does.
    """
    adopted, found, size, own = adopt_inputs(model, layout=layout, mean=mean, std=std)
    classes = wrap_outputs(adopted, output, scores)
    onnx.checker.check_model(adopted)
    told = (None, None) if own else (mean, std)
    return Adopted(adopted, (3, *size), classes, found, *told)


def adopt_inputs(
    model: onnx.ModelProto,
    *,
    layout: str | None = None,
    mean: Triple | None = None,
    std: Triple | None = None,
) -> tuple[onnx.ModelProto, str, tuple[int, int], bool]:
    """The same model for uint8 images [N, 3, H, W], with its own outputs.

    Returns:
        The model, its layout, (H, W), and whether it normalises images itself.

    Raises:
        RecipeError: the graph does not say enough, with the option that does.
    """
    adopted = copy_of(model)
    graph = adopted.graph
    given = one_input(graph)
    shape = [dim.dim_value for dim in given.type.tensor_type.shape.dim]
    kind = given.type.tensor_type.elem_type
    found = _layout(shape, layout)
    height, width = (shape[2], shape[3]) if found == "nchw" else (shape[1], shape[2])
    if not height or not width:
        raise RecipeError(
            f"the model leaves the image size open ({shape})",
            remedy="Export it with a fixed height and width; only the batch may be dynamic.",
        )
    if kind != TensorProto.UINT8 and kind not in _FLOATS:
        raise RecipeError(
            f"the model's input is {TensorProto.DataType.Name(kind)}",
            remedy="uint8, float16 and float32 are known.",
        )
    ours = given.name == INPUT and kind == TensorProto.UINT8 and found == "nchw"
    if not ours:
        _wrap_input(graph, given, kind, found, (height, width), mean, std)
    return adopted, found, (height, width), ours or kind not in _FLOATS


def _layout(shape: list[int], asked: str | None) -> str:
    """Where the channels are: as asked where the shape (0: left open) allows it, else as it says.

    Raises:
        RecipeError: the shape is no image's, contradicts what was asked, or does not say.
    """
    if len(shape) != 4:
        raise RecipeError(
            f"the model's input has shape {shape}, images have 4 axes", remedy="Export it anew."
        )
    if asked is not None:
        places = {"nchw": shape[1], "nhwc": shape[3]}
        if asked not in places:
            raise RecipeError(f"--layout {asked}: not known", remedy="Valid: nchw, nhwc.")
        if places[asked] not in (0, 3):
            raise RecipeError(
                f"--layout {asked}: the model's input {shape} has {places[asked]} where 3 channels would be",
                remedy=f"Leave it out, or give --layout {'nhwc' if asked == 'nchw' else 'nchw'}.",
            )
        return asked
    first, last = shape[1] == 3, shape[3] == 3
    if first == last:
        raise RecipeError(
            f"the model's input {shape} does not say where its channels are",
            remedy="Add --layout nchw or nhwc.",
        )
    return "nchw" if first else "nhwc"


def _wrap_input(
    graph: onnx.GraphProto,
    given: onnx.ValueInfoProto,
    kind: int,
    layout: str,
    size: tuple[int, int],
    mean: Triple | None,
    std: Triple | None,
) -> None:
    """Put a cast, the normalisation and a transposition in front of the file's own input."""
    nodes = []
    current = INPUT if given.name != INPUT else "adopted_images"
    if kind in _FLOATS:
        if mean is None or std is None:
            raise RecipeError(
                "the model takes float images, and the file does not say how they are normalised",
                remedy="Add --mean R,G,B --std R,G,B in fractions of 255: 0,0,0 and 1,1,1 for 0..1.",
            )
        if not all(deviation > 0 for deviation in std):
            raise RecipeError(
                f"--std {','.join(map(str, std))}: pixels are divided by it", remedy="Give numbers above 0."
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
        if kind == TensorProto.FLOAT16:
            nodes.append(helper.make_node("Cast", [last], ["adopted_half"], "adopted_half", to=kind))
            last = "adopted_half"
    else:
        last = current
    perm = [0, 2, 3, 1] if layout == "nhwc" else [0, 1, 2, 3]
    nodes.append(helper.make_node("Transpose", [last], [given.name], "adopted_layout", perm=perm))
    batch = given.type.tensor_type.shape.dim[0]
    shape = [batch.dim_value or batch.dim_param or "batch", 3, *size]
    outer = helper.make_tensor_value_info(current, TensorProto.UINT8, shape)
    others = [value for value in graph.input if value.name != given.name]
    own = list(graph.node)
    del graph.input[:]
    graph.input.extend([outer, *others])
    del graph.node[:]
    graph.node.extend([*nodes, *own])
