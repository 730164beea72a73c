"""float16 written into the graph; the normalisation, the last linear layer and the softmax stay in float32.

float16 costs most and gains least at pixels up to 255 and at logits; and a calibration folds exactly only
into a float32 layer. Inputs and outputs keep their types, and every type is explicit, as strongly typed
TensorRT requires.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, shape_inference

from calkd_edge.errors import StageFailed
from calkd_edge.onnx_model.graph import GraphView, read_inside
from calkd_edge.onnx_model.stored import with_stored_constants
from calkd_edge.onnx_model.validity import invalid_reason
from calkd_edge.quantization.source import Images, Progress, no_progress

HEAVY = ("Conv", "Gemm", "MatMul")
QUANTIZING = ("QuantizeLinear", "DequantizeLinear")
LARGEST = float(np.finfo(np.float16).max)
SMALLEST = np.finfo(np.float16).smallest_subnormal


def fp16(model: onnx.ModelProto, source: Images, progress: Progress = no_progress) -> onnx.ModelProto:
    """float16 weights and activations from the first convolution up to the last linear layer.

    Raises:
        StageFailed: a stored value does not fit into float16, or an operator takes none.
    """
    typed = shape_inference.infer_shapes(with_stored_constants(model))
    view = GraphView.of(typed)
    floats = _float_values(typed)
    inside = _half_region(view)
    halves: dict[str, str] = {}
    restored: dict[str, str] = {}
    nodes: list[onnx.NodeProto] = []
    for index, node in enumerate(view.graph.node):
        if read_inside(node) and (index in inside or restored.keys() & read_inside(node)):
            raise _refused(f"{node.op_type} '{node.name or node.output[0]}' computes in a branch or body")
        if index in inside and not _makes_floats(node, floats):
            nodes += _halve_inputs(view, node, floats, halves)
            restored.update(_halve_outputs(view, node, floats, halves))
        else:
            nodes += _restore_inputs(view, node, halves, restored)
        nodes.append(node)
    for output in view.graph.output:
        if output.name in restored:
            nodes.append(_cast(halves[output.name], output.name, TensorProto.FLOAT))
    del view.graph.value_info[:]
    view.replace_nodes(nodes)
    reason = invalid_reason(typed)
    if reason is not None:
        raise _refused(reason)
    return typed


def _refused(reason: str) -> StageFailed:
    return StageFailed(
        f"float16 cannot be written into this graph: {reason}",
        remedy="Remove fp16 and int8_fp16 from precisions, or export the model without this operator.",
    )


def _makes_floats(node: onnx.NodeProto, floats: set[str]) -> bool:
    """Whether a node makes float32 of no floats, such as ConstantOfShape: its results are cast."""
    return node.op_type != "Cast" and floats.isdisjoint(node.input) and not floats.isdisjoint(node.output)


def _float_values(model: onnx.ModelProto) -> set[str]:
    """The names of all float32 values, stored or computed."""
    graph = model.graph
    typed = [*graph.value_info, *graph.input, *graph.output]
    names = {value.name for value in typed if value.type.tensor_type.elem_type == TensorProto.FLOAT}
    return names | {tensor.name for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT}


def _half_region(view: GraphView) -> range:
    """Indices of the nodes from the first heavy node up to, not including, the last.

    The nodes that quantize the inputs of a heavy node belong to it.
    """
    nodes = view.graph.node

    def start_of(index: int) -> int:
        while index > 0 and nodes[index - 1].op_type in QUANTIZING:
            index -= 1
        return index

    heavy = [index for index, node in enumerate(nodes) if node.op_type in HEAVY]
    if not heavy:
        return range(0)
    return range(start_of(heavy[0]), start_of(heavy[-1]))


def _halve_inputs(
    view: GraphView, node: onnx.NodeProto, floats: set[str], halves: dict[str, str]
) -> list[onnx.NodeProto]:
    """Make a node read float16: convert stored values, cast computed values once; returns the casts."""
    casts = []
    for index, name in enumerate(node.input):
        if name not in floats or (node.op_type == "Resize" and index > 0):
            continue
        if name not in halves:
            halves[name] = view.unique(f"{name}_fp16")
            if name in view.initializers:
                half = _half(view.array(name), name)
                if node.op_type in QUANTIZING:
                    half = np.maximum(half, SMALLEST)  # a scale of 0 would be refused
                halves[name] = view.store(halves[name], half)
            else:
                casts.append(_cast(name, halves[name], TensorProto.FLOAT16))
        node.input[index] = halves[name]
    return casts


def _half(values: np.ndarray, name: str) -> np.ndarray:
    """The values in float16; numbers that mean "no limit" in float32 become the largest of float16."""
    limit = np.finfo(np.float32).max
    no_limit = np.abs(values) >= limit
    if np.any((np.abs(values) > LARGEST) & ~no_limit):
        raise StageFailed(
            f"{name} holds {np.abs(values[~no_limit]).max():.3g}, and float16 ends at {LARGEST:.0f}",
            remedy="Remove fp16 from precisions, or train with weight decay so that weights stay small.",
        )
    return np.where(no_limit, np.sign(values) * LARGEST, values).astype(np.float16)


def _halve_outputs(
    view: GraphView, node: onnx.NodeProto, floats: set[str], halves: dict[str, str]
) -> dict[str, str]:
    """Make a node write float16; returns its outputs, each without a cast to float32 yet."""
    written = {}
    for index, name in enumerate(node.output):
        if name in floats:
            halves[name] = view.unique(f"{name}_fp16")
            node.output[index] = halves[name]
            written[name] = ""
    for item in node.attribute:
        if node.op_type == "Cast" and item.name == "to" and item.i == TensorProto.FLOAT:
            item.i = TensorProto.FLOAT16
    return written


def _restore_inputs(
    view: GraphView, node: onnx.NodeProto, halves: dict[str, str], restored: dict[str, str]
) -> list[onnx.NodeProto]:
    """Make a float32 node read values that are computed in float16, cast once; returns the casts.

    It still reads values that were only converted for other nodes, such as stored ones, in float32.
    """
    casts = []
    for index, name in enumerate(node.input):
        if name in restored:
            if not restored[name]:
                restored[name] = view.unique(f"{name}_fp32")
                casts.append(_cast(halves[name], restored[name], TensorProto.FLOAT))
            node.input[index] = restored[name]
    return casts


def _cast(source: str, target: str, to: int) -> onnx.NodeProto:
    return helper.make_node("Cast", [source], [target], f"cast_{target}", to=to)
