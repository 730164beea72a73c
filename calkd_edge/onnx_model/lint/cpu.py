"""Rules for ONNX Runtime's CPU kernels: what it cannot open, or silently makes slow or rounded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import onnx
from onnx import TensorProto

from calkd_edge.onnx_model.lint import quantized
from calkd_edge.onnx_model.lint.quantized import ACTIVATIONS
from calkd_edge.onnx_model.lint.view import WEIGHTED, InspectedModel, NodeFinding, node_name, option

DERIVE = "Use the file that calkd-edge derives for ONNX Runtime (*.int8.cpu.onnx)."
SEPARATE_NUMBERS = "Store each int8 weight and its zero point once for each node that reads it."
SEVEN_BITS = 64
"""Products of weights up to this magnitude cannot saturate; ONNX Runtime leaves such weights unchanged."""

MOVING = ("Identity", "Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze")
_WEIGHT_AND_ZERO_POINT = {
    "DequantizeLinear": (0, 2),
    "QLinearConv": (3, 5),
    "QLinearMatMul": (3, 5),
    "QGemm": (3, 5),
    "MatMulInteger": (1, 3),
    "MatMulIntegerToFloat": (1, 5),
    "DynamicQuantizeMatMul": (1, 3),
    "QAttention": (1, 7),
}
"""By operator: positions of the inputs that are the weight and its zero point."""


def shared_numbers(inspected: InspectedModel) -> Iterator[NodeFinding]:
    """Int8 weights share stored numbers: ONNX Runtime 1.32 does not open such a file for exact x86 products.

    It converts weights beyond [-64, 64] to uint8, each under a new name made from the old one: also zero
    points, and also once for every reader of one DequantizeLinear. A name that occurs twice is fatal.
    """
    owner: dict[str, str] = {}
    fixed = _fixed(inspected)
    for node in inspected.nodes:
        converted = _converted_numbers(inspected, fixed, node)
        taken = next((name for name in converted if name in owner), None)
        reads = _reads(inspected, node) if node.op_type == "DequantizeLinear" and converted else 1
        refused = "ONNX Runtime 1.32 refuses such a file on x86 with session.x64quantprecision=1"
        if taken is not None:
            message = f"shares '{taken}' with '{owner[taken]}', both for int8 weights: {refused}"
            yield NodeFinding("error", node_name(node), message, SEPARATE_NUMBERS)
        elif reads > 1:
            message = f"the int8 weight that it dequantizes is read {reads} times: {refused}"
            yield NodeFinding("error", node_name(node), message, SEPARATE_NUMBERS)
        owner.update(dict.fromkeys(converted, node_name(node)))


def _converted_numbers(inspected: InspectedModel, fixed: Fixed, node: onnx.NodeProto) -> list[str]:
    """The stored weight and zero point of a node that ONNX Runtime converts to uint8; empty if it does not.

    Source: ConvertS8WeightToU8 in its core/optimizer/qdq_transformer/s8_to_u8.cc, and trials of what opens.
    """
    weight_at, zero_at = _WEIGHT_AND_ZERO_POINT.get(node.op_type, (len(node.input), 0))
    inputs = [fixed.first_name.get(name, "") for name in node.input]
    if weight_at >= len(inputs) or not _exceeds_seven_bits(
        inspected, fixed.source.get(inputs[weight_at], "")
    ):
        return []
    if zero_at >= len(node.input) or not node.input[zero_at]:
        return [inputs[weight_at]]
    is_int8 = inspected.kind(inputs[zero_at]) == TensorProto.INT8
    return [inputs[weight_at], inputs[zero_at]] if is_int8 else []


class Fixed(NamedTuple):
    """The values that are the same in every run: stored and not an input, or computed from such values.

    Attributes:
        first_name: by name, its name before the Identity nodes, which are removed.
        source: by name, the value whose numbers it holds in another shape.
    """

    first_name: dict[str, str]
    source: dict[str, str]


def _fixed(inspected: InspectedModel) -> Fixed:
    inputs = (
        {value.name for value in inspected.model.graph.input} if inspected.model.ir_version >= 4 else set()
    )
    first_name = {name: name for name in inspected.constants if name not in inputs}
    source = dict(first_name)
    for node in inspected.nodes:
        if not node.input or any(name and name not in first_name for name in node.input):
            continue
        for name in node.output:
            first_name[name] = first_name.get(node.input[0], name) if node.op_type == "Identity" else name
            source[name] = source.get(node.input[0], name) if node.op_type in MOVING else name
    return Fixed(first_name, source)


def _exceeds_seven_bits(inspected: InspectedModel, name: str) -> bool:
    """Whether a fixed int8 value, stored or quantized in the file, has numbers beyond [-64, 64]."""
    stored, maker = inspected.numbers(name), inspected.view.producer.get(name)
    if stored is not None:
        return stored.dtype == np.int8 and bool(np.any(np.abs(stored.astype(np.int16)) > SEVEN_BITS))
    if maker is None or maker.op_type != "QuantizeLinear" or len(maker.input) < 3:
        return False
    values, scale, zero = (inspected.numbers(input_name) for input_name in maker.input)
    if values is None or scale is None or zero is None or zero.dtype != np.int8:
        return False
    if scale.size > 1:
        axis, shape = option(maker, "axis", 1), [1] * values.ndim
        if not -values.ndim <= axis < values.ndim or {scale.shape, zero.shape} != {(values.shape[axis],)}:
            return False
        shape[axis] = scale.size
        scale, zero = scale.reshape(shape), zero.reshape(shape)
    with np.errstate(all="ignore"):
        return bool(np.any(np.abs(np.rint(values / scale) + zero) > SEVEN_BITS))


def _reads(inspected: InspectedModel, node: onnx.NodeProto) -> int:
    """How often a node's outputs are read: by nodes, by graphs inside nodes, and as outputs of the file."""
    readers = [(name, reader) for name in node.output for reader in inspected.view.consumers[name]]
    by_nodes = sum(list(reader.input).count(name) or 1 for name, reader in readers)
    return by_nodes + sum(inspected.view.is_output(name) for name in node.output)


def rounded_biases(inspected: InspectedModel) -> Iterator[NodeFinding]:
    """Float biases of quantized layers, which ONNX Runtime rounds to int32 when it opens the file."""
    for node in inspected.nodes:
        if node.op_type not in ("Conv", "Gemm") or len(node.input) < 3:
            continue
        quantized = all(inspected.dequantize_of(name) is not None for name in node.input[:2])
        if quantized and node.input[2] in inspected.constants:
            message = "its float bias becomes int32 when ONNX Runtime opens the file: results change slightly"
            remedy = f"{DERIVE} It holds the int32 bias, so that the scored file is the executed one."
            yield NodeFinding("warning", node_name(node), message, remedy)


def half_quantized(inspected: InspectedModel) -> Iterator[NodeFinding]:
    """Only the activation or only the weight of a layer is quantized, and the weight is not stored int8.

    The derived file stores int8 weights of layers that must run in float, and converts them by Cast and Mul.
    """
    intended = {node_name(node) for node in inspected.nodes if _is_stored_int8(inspected, node)}
    for finding in quantized.half_quantized(inspected):
        if finding.node not in intended:
            yield finding


def _is_stored_int8(inspected: InspectedModel, node: onnx.NodeProto) -> bool:
    """Whether a layer's weight is Mul(Cast(stored int8), stored scale)."""
    scaled = inspected.view.producer.get(node.input[1]) if len(node.input) > 1 else None
    cast = (
        inspected.view.producer.get(scaled.input[0])
        if scaled is not None and scaled.op_type == "Mul"
        else None
    )
    if scaled is None or cast is None or cast.op_type != "Cast" or scaled.input[1] not in inspected.constants:
        return False
    stored = inspected.view.initializers.get(cast.input[0])
    return stored is not None and stored.data_type == TensorProto.INT8


def not_fused(inspected: InspectedModel) -> Iterator[NodeFinding]:
    """A layer whose result is quantized only after the activation function runs in float."""
    for node in inspected.nodes:
        if node.op_type not in ACTIVATIONS:
            continue
        layer = inspected.view.producer.get(node.input[0])
        if layer is None or layer.op_type not in WEIGHTED or inspected.dequantize_of(layer.input[0]) is None:
            continue
        readers = inspected.view.consumers[node.output[0]]
        if any(reader.op_type == "QuantizeLinear" for reader in readers):
            message = f"runs in float: its result is quantized only after {node.op_type}"
            yield NodeFinding("warning", node_name(layer), message, DERIVE)
