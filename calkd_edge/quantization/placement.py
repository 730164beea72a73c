"""Placement of Q/DQ nodes, in the form that TensorRT 10 and 11 accept.

Every Conv and Gemm reads its activation through QuantizeLinear -> DequantizeLinear and its weight through the
DequantizeLinear of a stored int8 tensor. Symmetric, zero points 0, one scale per activation, one per output
channel of a weight, weights within [-127, 127], biases in float. Quantization follows activation functions.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import onnx
from onnx import helper

from calkd_edge.errors import StageFailed
from calkd_edge.onnx_model.graph import GraphView, attribute, copy_of
from calkd_edge.onnx_model.opset import at_opset
from calkd_edge.onnx_model.stored import with_stored_constants
from calkd_edge.quantization.scales import LARGEST, Scales, activation_scale, on_grid, weight_scales

QUANTIZED = ("Conv", "Gemm")
OLDEST_OPSET = 13
"""Since this opset a DequantizeLinear has a scale for each output channel."""


def with_stored_weights(model: onnx.ModelProto, opset: int = OLDEST_OPSET) -> onnx.ModelProto:
    """A copy whose weights are stored tensors, of this opset or newer; as it is where it rounds already.

    Raises:
        StageFailed: its opset is older, and onnx cannot convert it.
    """
    rounds = any(node.op_type == "QuantizeLinear" for node in model.graph.node)
    stored = model if rounds else with_stored_constants(model)
    return at_opset(stored, opset) if layer_names(stored) else stored


def quantized_inputs(model: onnx.ModelProto) -> list[str]:
    """Names of the activations that a Conv or Gemm reads, each once, in graph order.

    Raises:
        StageFailed: there is neither.
    """
    names = list(dict.fromkeys(node.input[0] for node in model.graph.node if node.op_type in QUANTIZED))
    if not names:
        raise StageFailed(
            "int8 holds the weights of Conv and Gemm nodes, and the file has neither",
            remedy="Remove int8 from precisions, or export products with stored weights as Gemm.",
        )
    return names


def layer_names(model: onnx.ModelProto) -> list[str]:
    """The names of all Convs and Gemms that can become int8: the names of their weights."""
    stored = {tensor.name for tensor in model.graph.initializer}
    heavy = [node for node in model.graph.node if node.op_type in QUANTIZED]
    return list(dict.fromkeys(node.input[1] for node in heavy if node.input[1] in stored))


def insert_qdq(
    model: onnx.ModelProto,
    ranges: dict[str, float],
    in_float: Collection[str] = (),
    scales: Scales = "free",
) -> onnx.ModelProto:
    """A copy of a float32 model with Q/DQ on every Conv and Gemm.

    Args:
        model: weights must be stored in the graph.
        ranges: r of the symmetric range [-r, r] of each activation that a Conv or Gemm reads.
        in_float: names of layers that stay in float32.
        scales: free, or dyadic: see calkd_edge.quantization.scales.
    """
    quantized = copy_of(model)
    view = GraphView.of(quantized)
    nodes: list[onnx.NodeProto] = []
    dequantized: dict[str, str] = {}
    for node in view.graph.node:
        is_stored = node.op_type in QUANTIZED and node.input[1] in view.initializers
        if is_stored and node.input[1] not in in_float:
            activation = node.input[0]
            scale = activation_scale(ranges[activation], scales)
            if activation not in dequantized:
                nodes += _activation_pair(view, activation, scale, dequantized)
            nodes.append(_weight_dequantize(view, node, scale, scales))
            node.input[0] = dequantized[activation]
            node.input[1] = nodes[-1].output[0]
        nodes.append(node)
    view.replace_nodes(nodes)
    onnx.checker.check_model(quantized, full_check=True)
    return quantized


def _activation_pair(
    view: GraphView, name: str, value: float, dequantized: dict[str, str]
) -> list[onnx.NodeProto]:
    scale = view.store(f"{name}_scale", np.array(value, dtype=np.float32))
    zero = view.store(f"{name}_zero_point", np.array(0, dtype=np.int8))
    integers, floats = _unused(view, f"{name}_quantized"), _unused(view, f"{name}_dequantized")
    dequantized[name] = floats
    return [
        helper.make_node("QuantizeLinear", [name, scale, zero], [integers], f"quantize_{name}"),
        helper.make_node("DequantizeLinear", [integers, scale, zero], [floats], f"dequantize_{name}"),
    ]


def _unused(view: GraphView, name: str) -> str:
    """A name like this one that no value has; from now on it counts as used."""
    unused = view.unique(name)
    view.consumers[unused] = []
    return unused


def _weight_dequantize(
    view: GraphView, node: onnx.NodeProto, input_scale: float, scales: Scales
) -> onnx.NodeProto:
    weight = view.array(node.input[1]).astype(np.float64)
    if node.op_type == "Gemm" and attribute(node, "transB", 0) != 1:
        weight = weight.T
        _set_transposed(node)
    has_bias = len(node.input) > 2 and node.input[2] in view.initializers
    bias = view.array(node.input[2]) if has_bias else None
    scale = weight_scales(weight, bias, input_scale, scales)
    if bias is not None and scales == "dyadic":
        node.input[2] = view.store(f"{node.input[2]}_on_grid", on_grid(bias, input_scale, scale))
    column = scale.astype(np.float64).reshape(-1, *[1] * (weight.ndim - 1))
    integers = np.clip(np.rint(weight / column), -LARGEST, LARGEST).astype(np.int8)
    name = f"{node.name or node.output[0]}_weight"
    inputs = [
        view.store(f"{name}_int8", integers),
        view.store(f"{name}_scale", scale),
        view.store(f"{name}_zero_point", np.zeros(len(scale), dtype=np.int8)),
    ]
    floats = _unused(view, f"{name}_dequantized")
    return helper.make_node("DequantizeLinear", inputs, [floats], f"dequantize_{name}", axis=0)


def _set_transposed(node: onnx.NodeProto) -> None:
    kept = [item for item in node.attribute if item.name != "transB"]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute("transB", 1)])
