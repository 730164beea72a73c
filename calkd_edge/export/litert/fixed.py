"""A canonical file for one image per run: all shapes are known, and numbers that follow from them stored."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper, shape_inference

from calkd_edge.errors import StageFailed
from calkd_edge.onnx_model.graph import GraphView, copy_of, read_inside
from calkd_edge.onnx_model.stored import results_of

KEPT = ("QuantizeLinear", "DequantizeLinear")
"""Never computed here: the converted file holds the stored integers and their scales."""


def with_single_image(model: onnx.ModelProto) -> tuple[onnx.ModelProto, dict[str, tuple[int, ...]]]:
    """A copy whose batch is 1, without the nodes that compute shapes; and the shape of every value.

    Raises:
        StageFailed: a shape stays unknown.
    """
    fixed = copy_of(model)
    for value in [*fixed.graph.input, *fixed.graph.output]:
        value.type.tensor_type.shape.dim[0].dim_value = 1
    del fixed.graph.value_info[:]
    while True:
        shapes = _shapes(fixed)
        if not _compute(fixed, shapes):
            break
    GraphView.of(fixed).drop_unread()
    for node in fixed.graph.node:
        for name in node.output:
            if name and name not in shapes:
                raise StageFailed(
                    f"the shape of '{name}' ({node.op_type} {node.name}) is not known for one image",
                    remedy="Export the model with a fixed image size.",
                )
    return fixed, shapes


def _shapes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    inferred = shape_inference.infer_shapes(model, data_prop=True).graph
    shapes: dict[str, tuple[int, ...]] = {
        tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer
    }
    for value in (*inferred.value_info, *inferred.input, *inferred.output):
        dims = value.type.tensor_type.shape.dim
        if value.type.tensor_type.HasField("shape") and all(dim.HasField("dim_value") for dim in dims):
            shapes[value.name] = tuple(dim.dim_value for dim in dims)
    return shapes


def _compute(model: onnx.ModelProto, shapes: dict[str, tuple[int, ...]]) -> bool:
    """Replace nodes that read only stored numbers by their results; returns whether there were any."""
    view = GraphView.of(model)
    nodes, replaced = [], False
    for node in view.graph.node:
        known = _known(model, view, node, shapes)
        if known is None:
            nodes.append(node)
            continue
        replaced = True
        for name, values in zip(node.output, known, strict=True):
            tensor = numpy_helper.from_array(np.asarray(values), name)
            view.graph.initializer.append(tensor)
            view.initializers[name] = tensor
    if replaced:
        view.replace_nodes(nodes)
    return replaced


def _known(
    model: onnx.ModelProto, view: GraphView, node: onnx.NodeProto, shapes: dict[str, tuple[int, ...]]
) -> list[np.ndarray] | None:
    if node.op_type == "Shape":
        if node.input[0] not in shapes:
            return None
        ends = {item.name: int(item.i) for item in node.attribute}
        shape = np.array(shapes[node.input[0]], dtype=np.int64)
        return [shape[ends.get("start", 0) : ends.get("end")]]
    stored = {name: view.array(name) for name in node.input if name in view.initializers}
    read = {*node.input, *read_inside(node)} - {""}
    if node.op_type in KEPT or read != set(stored) or view.is_output(node.output[0]):
        return None
    return results_of(model, node, stored)
