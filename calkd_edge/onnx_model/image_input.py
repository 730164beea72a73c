"""The image input of a classifier, in our form: uint8 RGB images [N, 3, H, W]."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from calkd_edge.errors import RecipeError
from calkd_edge.onnx_model.graph import GraphView, copy_of
from calkd_edge.onnx_model.names import INPUT
from calkd_edge.onnx_model.outputs import single_input
from calkd_edge.onnx_model.reading import Reading

_FLOATS = {TensorProto.FLOAT: np.float32, TensorProto.FLOAT16: np.float16}
_CHANNELS = (1, 3)
_BEFORE_RESCALING = frozenset({"Cast", "Identity", "Transpose"})
_RESCALES = {"Sub": (10, 255), "Add": (10, 255), "Div": (40, 256), "Mul": (1 / 256, 1 / 40)}
"""Operator -> the range of numbers that only pixels in 0..255 need, such as 127.5, 57.4 and 1 / 255."""
GREY_WEIGHTS = (19595, 38470, 7471)
"""Of red, green and blue, in 65536ths: ITU-R BT.601 luma, as image libraries round it."""


class ImageInput(NamedTuple):
    """A model that takes our images, and how its own input is.

    Attributes:
        model: uint8 [N, 3, H, W] in, outputs unchanged.
        layout: of the file's own input.
        size: (H, W).
        channels: 3, or 1 for grey.
        is_float: whether the file's own input is float, and normalised outside of the file.
    """

    model: onnx.ModelProto
    layout: str
    size: tuple[int, int]
    channels: int
    is_float: bool


def adopt_inputs(model: onnx.ModelProto, reading: Reading) -> ImageInput:
    """The same model for uint8 images [N, 3, H, W], with its outputs unchanged.

    Raises:
        RecipeError: the graph does not determine the wrapping; the remedy names the option that does.
    """
    reading.check()
    adopted = copy_of(model)
    graph = adopted.graph
    image_input = single_input(graph)
    dims = image_input.type.tensor_type.shape.dim
    shape = [dim.dim_value for dim in dims]
    element_type = image_input.type.tensor_type.elem_type
    layout, channels = _layout(shape, reading.layout)
    height, width = size = _size(shape, layout, reading.image_size)
    axes = {"nchw": (1, 2, 3), "nhwc": (3, 1, 2)}[layout]
    for axis, length in zip(axes, (channels, height, width), strict=True):
        dims[axis].dim_value = length
    if element_type != TensorProto.UINT8 and element_type not in _FLOATS:
        raise RecipeError(
            f"the model's input is {TensorProto.DataType.Name(element_type)}",
            remedy="Export it with an input of type uint8, float16 or float32.",
        )
    if channels == 1 and reading.channels == "bgr":
        raise RecipeError(
            "--channels bgr: the model takes one grey channel", remedy="Leave --channels bgr out."
        )
    is_our_form = (
        image_input.name == INPUT
        and element_type == TensorProto.UINT8
        and layout == "nchw"
        and channels == 3
        and reading.channels == "rgb"
    )
    if not is_our_form:
        _wrap_input(graph, image_input, layout, channels, size, reading)
    return ImageInput(adopted, layout, size, channels, element_type in _FLOATS)


def _size(shape: list[int], layout: str, requested: tuple[int, int] | None) -> tuple[int, int]:
    """(H, W) as the file fixes them, else as requested.

    Raises:
        RecipeError: the file leaves them open and none are requested, or fixes others.
    """
    fixed = (shape[2], shape[3]) if layout == "nchw" else (shape[1], shape[2])
    if requested is None:
        if not all(fixed):
            raise RecipeError(
                f"the model leaves the image size open ({shape})",
                remedy="Add --image-size 224, or the size that it was trained for.",
            )
        return fixed
    if any(size not in (0, other) for size, other in zip(fixed, requested, strict=True)):
        raise RecipeError(
            f"--image-size {requested[0]}x{requested[1]}: the model fixes {fixed[0]}x{fixed[1]}",
            remedy="Leave --image-size out.",
        )
    return requested


def _layout(shape: list[int], requested: str | None) -> tuple[str, int]:
    """The layout of an input and its number of channels; a size of 0 is open.

    Raises:
        RecipeError: the shape is not that of images, contradicts the request, or is ambiguous.
    """
    if len(shape) != 4:
        raise RecipeError(
            f"the model's input has shape {shape}, images have 4 axes",
            remedy="Export the model with an input [N, 3, H, W] or [N, H, W, 3], or give its inputs as an "
            ".npz: calkd-edge calibrate --model FILE --data inputs.npz",
        )
    sizes = {"nchw": shape[1], "nhwc": shape[3]}
    possible = [name for name, size in sizes.items() if size in (0, *_CHANNELS)]
    if not possible:
        raise RecipeError(
            f"the model's input {shape} has no axis of 3 (RGB) or 1 (grey) channels",
            remedy="Give its inputs as an .npz: calkd-edge calibrate --model FILE --data inputs.npz",
        )
    if requested is not None:
        if requested not in sizes:
            raise RecipeError(
                f"--layout {requested}: unknown layout", remedy="Valid values of --layout: nchw, nhwc."
            )
        if requested not in possible:
            raise RecipeError(
                f"--layout {requested}: the model's input {shape} would have {sizes[requested]} "
                "channels instead of 3 or 1",
                remedy=f"Omit the option, or use --layout {possible[0]}.",
            )
        return requested, sizes[requested] or 3
    for channels in (3, 1):
        certain = [name for name, size in sizes.items() if size == channels]
        if len(certain) == 1:
            return certain[0], channels
    raise RecipeError(
        f"the shape {shape} of the model's input does not tell which axis holds the channels",
        remedy="Add --layout nchw or nhwc.",
    )


def _wrap_input(
    graph: onnx.GraphProto,
    image_input: onnx.ValueInfoProto,
    layout: str,
    channels: int,
    size: tuple[int, int],
    reading: Reading,
) -> None:
    """Put grey, a cast, the normalisation, the order of channels and a transposition before the input."""
    element_type = image_input.type.tensor_type.elem_type
    outer_name = INPUT if image_input.name != INPUT else "adopted_images"
    nodes: list[onnx.NodeProto] = []

    def append(kind: str, *stored: np.ndarray, **attributes: int | list[int]) -> None:
        number = len(nodes)
        names = []
        for position, values in enumerate(stored):
            names.append(f"adopted_stored_{number}_{position}")
            graph.initializer.append(numpy_helper.from_array(values, names[-1]))
        source = nodes[-1].output[0] if nodes else outer_name
        node = helper.make_node(kind, [source, *names], [f"adopted_input_{number}"], f"adopted_{number}")
        node.attribute.extend(helper.make_attribute(key, value) for key, value in attributes.items())
        nodes.append(node)

    if channels == 1:
        weights = np.array(GREY_WEIGHTS, np.float32).reshape(1, 3, 1, 1)
        append("Cast", to=TensorProto.FLOAT)
        append("Conv", weights)
        append("Add", np.array(32768, np.float32))
        append("Mul", np.array(1 / 65536, np.float32))
        append("Floor")
    if element_type in _FLOATS:
        mean, std = _normalisation(reading, channels)
        if channels == 3:
            append("Cast", to=TensorProto.FLOAT)
        append("Sub", mean)
        append("Div", std)
    if reading.channels == "bgr":
        append("Gather", np.array([2, 1, 0]), axis=1)
    if element_type != TensorProto.FLOAT and (element_type == TensorProto.FLOAT16 or channels == 1):
        append("Cast", to=element_type)
    append("Transpose", perm=[0, 2, 3, 1] if layout == "nhwc" else [0, 1, 2, 3])
    nodes[-1].output[0] = image_input.name
    batch = image_input.type.tensor_type.shape.dim[0]
    shape = [batch.dim_value or batch.dim_param or "batch", 3, *size]
    outer = helper.make_tensor_value_info(outer_name, TensorProto.UINT8, shape)
    others = [value for value in graph.input if value.name != image_input.name]
    model_nodes = list(graph.node)
    del graph.input[:]
    graph.input.extend([outer, *others])
    del graph.node[:]
    graph.node.extend([*nodes, *model_nodes])


def _normalisation(reading: Reading, channels: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation in 0..255, each [1, channels, 1, 1]."""
    mean, std = reading.mean, reading.std
    if mean is None or std is None:
        raise RecipeError(
            "the model takes float images, and the file does not say how they are normalised",
            remedy="Add --mean R,G,B --std R,G,B in fractions of 255: 0,0,0 and 1,1,1 for 0..1.",
        )
    for option, triple in (("--mean", mean), ("--std", std)):
        if channels == 1 and len(set(triple)) > 1:
            raise RecipeError(
                f"{option} {','.join(f'{number:g}' for number in triple)}: the model takes one grey channel",
                remedy=f"Give its number three times: {option} 0.5,0.5,0.5",
            )
    first, second = (
        255 * np.asarray(triple[:channels], dtype=np.float32).reshape(1, channels, 1, 1)
        for triple in (mean, std)
    )
    return first, second


def rescaling(model: onnx.ModelProto) -> str | None:
    """The first operator of a float file that computes with pixels as if they were in 0..255, described.

    Such a file normalises images itself: it subtracts or divides by numbers that only pixels in 0..255 need.
    """
    view = GraphView.of(model)
    value = single_input(model.graph).name
    while len(view.consumers[value]) == 1 and view.consumers[value][0].op_type in _BEFORE_RESCALING:
        value = view.consumers[value][0].output[0]
    for node in view.consumers[value]:
        low, high = _RESCALES.get(node.op_type, (math.inf, -math.inf))
        for stored in filter(lambda array: array is not None, map(view.constant, node.input)):
            numbers = np.abs(np.asarray(stored, dtype=np.float64)).reshape(-1)
            if numbers.size <= max(_CHANNELS) and low <= numbers.max() <= high:
                return f"{node.op_type} with {', '.join(f'{number:.6g}' for number in numbers)}"
    return None
