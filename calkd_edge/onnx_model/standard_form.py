"""One form for what exporters write in many: sorted nodes, no functions, stored tensors that are no inputs.

In scope: rewriting that keeps every result. Out of scope: the meaning of a graph.
"""

from __future__ import annotations

import onnx
from onnx import helper, inliner

from calkd_edge.errors import RecipeError
from calkd_edge.onnx_model.graph import GraphView, copy_of, number_of, typed_graph

CONTRIBUTED = "com.microsoft"


def standard_form(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy that returns the same values.

    Functions of the model are replaced by their nodes, nodes are sorted, stored tensors are not listed among
    the inputs, and ONNX Runtime's quantized softmax is written with the operators of ONNX.

    Raises:
        RecipeError: the nodes form a cycle, or a function cannot be replaced.
    """
    changed = copy_of(model)
    if changed.functions:
        try:
            changed = inliner.inline_local_functions(changed, convert_version=True)
        except Exception as broken:  # of onnx's C++ part, which raises several types
            raise RecipeError(
                f"the functions inside the model cannot be replaced by their nodes: {broken}",
                remedy="Export it without functions, or run onnx.inliner on it and use the result.",
            ) from broken
    changed.ir_version = max(changed.ir_version, 4)  # before, every stored tensor had to be an input as well
    stored = {tensor.name for tensor in changed.graph.initializer}
    inputs = [value for value in changed.graph.input if value.name not in stored]
    del changed.graph.input[:]
    changed.graph.input.extend(inputs)
    nodes = [new for node in changed.graph.node for new in _with_onnx_softmax(node)]
    del changed.graph.node[:]
    changed.graph.node.extend(nodes)
    sort_nodes(changed)
    _declare_outputs(changed)
    return changed


def _declare_outputs(model: onnx.ModelProto) -> None:
    """Declare the types of outputs whose exporter left out the shape, as far as the graph determines them."""
    open_outputs = [
        value
        for value in model.graph.output
        if value.type.WhichOneof("value") in (None, "tensor_type")
        and not value.type.tensor_type.HasField("shape")
    ]
    if not open_outputs:
        return
    inferred = {value.name: value for value in typed_graph(model).output}
    for value in open_outputs:
        value.CopyFrom(inferred[value.name])


def sort_nodes(model: onnx.ModelProto) -> None:
    """Put the nodes of the main graph into an order in which each finds its inputs, if they are not.

    Raises:
        RecipeError: there is no such order.
    """
    available = {tensor.name for tensor in model.graph.initializer} | {
        value.name for value in model.graph.input
    }
    made = {name for node in model.graph.node for name in node.output}
    for node in model.graph.node:
        if not available.issuperset(made.intersection(node.input)):
            break
        available.update(node.output)
    else:
        return
    try:
        GraphView.of(model).sort()
    except ValueError as cycle:
        raise RecipeError(f"the model cannot run: {cycle}", remedy="Export the model again.") from cycle


def _with_onnx_softmax(node: onnx.NodeProto) -> list[onnx.NodeProto]:
    """The node, or the nodes of ONNX that compute the same as ONNX Runtime's quantized softmax.

    QLinearSoftmax returns integers: a softmax of its dequantized input, quantized; `opset` of the node gives
    the meaning of its axis.
    """
    if node.domain != CONTRIBUTED or node.op_type != "QLinearSoftmax":
        return [node]
    result, name = node.output[0], node.name or node.output[0]
    value, scale, zero, out_scale, *out_zero = node.input
    values, shares = f"{result}_scores", f"{result}_shares"
    axis = int(number_of(node, "axis", -1))
    return [
        helper.make_node("DequantizeLinear", [value, scale, *filter(None, [zero])], [values], f"{name}_in"),
        helper.make_node("Softmax", [values], [shares], name, axis=axis),
        helper.make_node("QuantizeLinear", [shares, out_scale, *out_zero], [result], f"{name}_out"),
    ]
