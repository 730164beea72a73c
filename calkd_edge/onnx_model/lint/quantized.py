"""Rules of explicit quantization: what TensorRT refuses in Q/DQ nodes, and what it accepts wrongly.

TensorRT 10 and 11 support int8 only by QuantizeLinear and DequantizeLinear, symmetric, with scales above
zero; the parser refuses other zero points, uint8 weights and int32 biases. It reads uint8 activations with
zero point 0 as int8 and clips everything above 127: a rule here refuses those.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import TensorProto

from calkd_edge.onnx_model.lint.view import (
    WEIGHTED,
    InspectedModel,
    NodeFinding,
    node_name,
    option,
    type_name,
)

ACTIVATIONS = ("Relu", "Clip", "LeakyRelu", "HardSwish", "Sigmoid", "HardSigmoid", "Gelu", "Mish")
QUANTIZE_AGAIN = "Quantize again, symmetric: calkd-edge's int8, or ActivationSymmetric=WeightSymmetric=True."
FLOAT_BIAS = "Leave the bias in float (ONNX Runtime's quantizer: QuantizeBias=False)."
BELOW_INT8 = (
    TensorProto.INT8,
    TensorProto.INT4,
    TensorProto.FLOAT8E4M3FN,
    getattr(TensorProto, "FLOAT4E2M1", TensorProto.INT8),
)


def zero_points(inspected: InspectedModel) -> Iterator[NodeFinding]:
    """Every zero point is 0."""
    for node in inspected.pairs():
        zero = inspected.numbers(node.input[2]) if len(node.input) > 2 and node.input[2] else None
        if zero is not None and np.any(zero.astype(np.int64) != 0):
            zero_point = f"the zero point is {int(zero.reshape(-1)[np.argmax(zero.reshape(-1) != 0)])}"
            yield NodeFinding(
                "error",
                node_name(node),
                f"{zero_point}; TensorRT supports symmetric quantization only",
                QUANTIZE_AGAIN,
            )


def quantized_types(inspected: InspectedModel) -> Iterator[NodeFinding]:
    """Quantized values are int8: not uint8, which TensorRT refuses or clips at 127, and not int32 biases."""
    for node in inspected.pairs():
        if node.op_type == "QuantizeLinear":
            zero = node.input[2] if len(node.input) > 2 else ""
            kind = inspected.kind(zero) if zero else TensorProto.UINT8
        else:
            kind = inspected.kind(node.input[0])
        if kind in BELOW_INT8 or kind == TensorProto.UNDEFINED:
            continue
        name = node_name(node)
        if kind == TensorProto.INT32:
            yield NodeFinding(
                "error", name, "an int32 bias with a DequantizeLinear is refused by TensorRT", FLOAT_BIAS
            )
        elif kind == TensorProto.UINT8 and not inspected.is_weight(node):
            message = (
                "uint8 with zero point 0 is read as int8: TensorRT accepts it and clips values above 127"
            )
            yield NodeFinding("error", name, message, QUANTIZE_AGAIN)
        else:
            yield NodeFinding(
                "error", name, f"TensorRT does not quantize to {type_name(kind)}", QUANTIZE_AGAIN
            )


def scales(inspected: InspectedModel) -> Iterator[NodeFinding]:
    """Scales are stored, finite and above zero, also for a channel of zeros."""
    for node in inspected.pairs():
        stored = inspected.numbers(node.input[1])
        if stored is None:
            yield NodeFinding(
                "error",
                node_name(node),
                "the scale is computed instead of stored",
                "Use static quantization.",
            )
            continue
        values = stored.astype(np.float64)
        if not np.all(np.isfinite(values)) or np.any(values <= 0):
            bad = values.reshape(-1)[~(np.isfinite(values) & (values > 0)).reshape(-1)]
            message = f"{len(bad)} of {values.size} scales are not positive and finite (the first: {bad[0]})"
            yield NodeFinding(
                "error", node_name(node), message, "Give channels of zeros a small scale, such as 2^-12."
            )


def scale_axes(inspected: InspectedModel) -> Iterator[NodeFinding]:
    """An activation has one scale; a weight has one, or one for each output channel along that axis."""
    for node in inspected.pairs():
        stored = inspected.numbers(node.input[1])
        if stored is None or stored.size == 1:
            continue
        if not inspected.is_weight(node):
            message = f"an activation has {stored.size} scales; TensorRT accepts one"
            yield NodeFinding("error", node_name(node), message, "Quantize activations per tensor.")
            continue
        for reader in inspected.view.consumers[node.output[0]]:
            if reader.op_type in WEIGHTED and len(reader.input) > 1 and reader.input[1] == node.output[0]:
                yield from _axis_of(inspected, node, reader, stored.size)


def _axis_of(
    inspected: InspectedModel, node: onnx.NodeProto, reader: onnx.NodeProto, count: int
) -> Iterator[NodeFinding]:
    shape = inspected.shape(node.input[0]) or []
    expected = {"Conv": 0, "ConvTranspose": 1, "MatMul": len(shape) - 1}.get(reader.op_type)
    if expected is None:
        expected = 0 if option(reader, "transB", 0) else 1
    axis = option(node, "axis", 1)
    axis += len(shape) if axis < 0 else 0
    if shape and (axis != expected or shape[expected] != count):
        yield NodeFinding(
            "error",
            node_name(node),
            f"{count} scales along axis {axis} of a weight {shape} of {reader.op_type} "
            f"'{node_name(reader)}', whose output channels are axis {expected}",
            f"Quantize weights per output channel (axis={expected}).",
        )


def loose_ends(inspected: InspectedModel) -> Iterator[NodeFinding]:
    """Only DequantizeLinear nodes read quantized values."""
    for node in inspected.nodes:
        if node.op_type != "QuantizeLinear":
            continue
        readers = inspected.view.consumers[node.output[0]]
        others = [reader for reader in readers if reader.op_type != "DequantizeLinear"]
        if inspected.view.is_output(node.output[0]) or others:
            who = (
                f"read by {others[0].op_type} '{node_name(others[0])}'" if others else "an output of the file"
            )
            message = f"the quantized value is {who}; TensorRT needs a DequantizeLinear first"
            yield NodeFinding(
                "error", node_name(node), message, "Put a DequantizeLinear with the same scale after it."
            )


def half_quantized(inspected: InspectedModel) -> Iterator[NodeFinding]:
    """Only the activation or only the weight of a layer is quantized: it silently runs in float."""
    for node in inspected.nodes:
        if node.op_type not in WEIGHTED or len(node.input) < 2:
            continue
        is_quantized = [inspected.dequantize_of(name) is not None for name in node.input[:2]]
        if is_quantized[0] != is_quantized[1]:
            which, other = ("activation", "weight") if is_quantized[0] else ("weight", "activation")
            yield NodeFinding(
                "error",
                node_name(node),
                f"the {which} is quantized, the {other} is not: {node.op_type} silently runs in float",
                f"Quantize its {other} too, or leave the whole layer in float.",
            )


def float_layers(inspected: InspectedModel) -> Iterator[NodeFinding]:
    """A layer of a quantized file stays in float, on purpose or by mistake."""
    if not any(True for _ in inspected.pairs()):
        return
    for node in inspected.nodes:
        if node.op_type in WEIGHTED and not any(inspected.dequantize_of(name) for name in node.input[:2]):
            yield NodeFinding(
                "note",
                node_name(node),
                f"{node.op_type} stays in float",
                "No action is needed if this is intended.",
            )


def before_activation(inspected: InspectedModel) -> Iterator[NodeFinding]:
    """Quantization between a layer and its activation function keeps TensorRT from fusing them."""
    for node in inspected.nodes:
        if node.op_type != "QuantizeLinear":
            continue
        layer = inspected.view.producer.get(node.input[0])
        if layer is None or layer.op_type not in WEIGHTED:
            continue
        behind = [
            reader
            for pair in inspected.view.consumers[node.output[0]]
            for reader in inspected.view.consumers[pair.output[0]]
        ]
        if behind and all(reader.op_type in ACTIVATIONS for reader in behind):
            message = (
                f"stands between '{node_name(layer)}' and its {behind[0].op_type}, so that they are not fused"
            )
            yield NodeFinding("warning", node_name(node), message, "Quantize after the activation function.")


def twice(inspected: InspectedModel) -> Iterator[NodeFinding]:
    """A value is quantized again directly after a DequantizeLinear."""
    for node in inspected.nodes:
        before = inspected.view.producer.get(node.input[0]) if node.op_type == "QuantizeLinear" else None
        if before is not None and before.op_type == "DequantizeLinear":
            message = f"quantizes again what '{node_name(before)}' has just dequantized"
            yield NodeFinding("warning", node_name(node), message, "Remove one of the two pairs.")


def weight_range(inspected: InspectedModel) -> Iterator[NodeFinding]:
    """Symmetric weights stay within [-127, 127]: -128 has no positive counterpart."""
    for node in inspected.pairs():
        stored = inspected.numbers(node.input[0]) if node.op_type == "DequantizeLinear" else None
        if stored is not None and stored.dtype == np.int8 and stored.size and int(stored.min()) == -128:
            count = int((stored == -128).sum())
            message = f"{count} weights are -128; kernels for symmetric weights expect [-127, 127]"
            yield NodeFinding("warning", node_name(node), message, "Clip quantized weights to [-127, 127].")
