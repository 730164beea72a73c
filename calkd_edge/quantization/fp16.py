"""float16 written into the graph; the normalisation, the last linear layer and the softmax stay in float32.

Pixels up to 255 and logits are where float16 costs most and gains least; and a calibration folds exactly only
into a float32 layer. Inputs and outputs keep their types, and every type is explicit, as strongly typed
TensorRT
wants.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, shape_inference

from calkd_edge.errors import StageFailed
from calkd_edge.onnx_model.graph import GraphView, copy_of
from calkd_edge.quantization.source import Images, Progress, unheard

HEAVY = ("Conv", "Gemm", "MatMul")
QUANTIZING = ("QuantizeLinear", "DequantizeLinear")
LARGEST = float(np.finfo(np.float16).max)
SMALLEST = np.finfo(np.float16).smallest_subnormal


def fp16(model: onnx.ModelProto, source: Images, progress: Progress = unheard) -> onnx.ModelProto:
    """float16 weights and activations from the first convolution to the last linear layer.

    Raises:
        StageFailed: a stored value does not fit into float16.
    """
    typed = copy_of(shape_inference.infer_shapes(model))
    view = GraphView.of(typed)
    floats = _float_values(typed)
    inside = _half_region(view)
    halves: dict[str, str] = {}
    restored: dict[str, str] = {}
    nodes: list[onnx.NodeProto] = []
    for place, node in enumerate(view.graph.node):
        if place in inside:
            nodes += _halve_inputs(view, node, floats, halves)
            restored.update(_halve_outputs(node, floats, halves))
        else:
            nodes += _restore_inputs(node, halves, restored)
        nodes.append(node)
    for output in view.graph.output:
        if output.name in restored:
            nodes.append(_cast(halves[output.name], output.name, TensorProto.FLOAT))
    del view.graph.value_info[:]
    view.replace_nodes(nodes)
    onnx.checker.check_model(typed, full_check=True)
    return typed


def _float_values(model: onnx.ModelProto) -> set[str]:
    """Names of every float32 value, stored or computed."""
    graph = model.graph
    typed = [*graph.value_info, *graph.input, *graph.output]
    found = {value.name for value in typed if value.type.tensor_type.elem_type == TensorProto.FLOAT}
    return found | {tensor.name for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT}


def _half_region(view: GraphView) -> range:
    """Places of the nodes from the first heavy one up to, not including, the last.

    What quantizes the inputs of a heavy node belongs to it.
    """
    nodes = view.graph.node
    heavy = [place for place, node in enumerate(nodes) if node.op_type in HEAVY]
    if not heavy:
        return range(0)
    first, last = (
        next(at for at in range(place, -1, -1) if at == 0 or nodes[at - 1].op_type not in QUANTIZING)
        for place in (heavy[0], heavy[-1])
    )
    return range(first, last)


def _halve_inputs(
    view: GraphView, node: onnx.NodeProto, floats: set[str], halves: dict[str, str]
) -> list[onnx.NodeProto]:
    """Let a node read float16: stored values converted, computed ones cast once; returns the casts."""
    casts = []
    for place, name in enumerate(node.input):
        if name not in floats or (node.op_type == "Resize" and place > 0):
            continue
        if name not in halves:
            halves[name] = f"{name}_fp16"
            if name in view.initializers:
                half = _half(view.array(name), name)
                if node.op_type in QUANTIZING:
                    half = np.maximum(half, SMALLEST)  # a scale of 0 would be refused
                halves[name] = view.store(halves[name], half)
            else:
                casts.append(_cast(name, halves[name], TensorProto.FLOAT16))
        node.input[place] = halves[name]
    return casts


def _half(values: np.ndarray, name: str) -> np.ndarray:
    """Rounded to float16; what stands for "no limit" in float32 becomes its largest."""
    limit = np.finfo(np.float32).max
    no_limit = np.abs(values) >= limit
    if np.any((np.abs(values) > LARGEST) & ~no_limit):
        raise StageFailed(
            f"{name} holds {np.abs(values[~no_limit]).max():.3g}, float16 ends at {LARGEST:.0f}",
            remedy="Leave fp16 out of precisions, or train with weight decay so that weights stay small.",
        )
    return np.where(no_limit, np.sign(values) * LARGEST, values).astype(np.float16)


def _halve_outputs(node: onnx.NodeProto, floats: set[str], halves: dict[str, str]) -> dict[str, str]:
    """Let a node write float16; returns what it wrote, for those who read float32: no cast exists yet."""
    written = {}
    for place, name in enumerate(node.output):
        if name in floats:
            halves[name] = f"{name}_fp16"
            node.output[place] = halves[name]
            written[name] = ""
    for item in node.attribute:
        if node.op_type == "Cast" and item.name == "to" and item.i == TensorProto.FLOAT:
            item.i = TensorProto.FLOAT16
    return written


def _restore_inputs(
    node: onnx.NodeProto, halves: dict[str, str], restored: dict[str, str]
) -> list[onnx.NodeProto]:
    """Let a float32 node read what is computed in float16, cast once; returns the casts.

    What was only converted for others, such as a stored value, it goes on reading in float32.
    """
    casts = []
    for place, name in enumerate(node.input):
        if name in restored:
            if not restored[name]:
                restored[name] = f"{name}_fp32"
                casts.append(_cast(halves[name], restored[name], TensorProto.FLOAT))
            node.input[place] = restored[name]
    return casts


def _cast(source: str, target: str, to: int) -> onnx.NodeProto:
    return helper.make_node("Cast", [source], [target], f"cast_{target}", to=to)
