"""Rules of explicit quantization: what TensorRT refuses in Q/DQ nodes, and what it takes and should not.

TensorRT 10 and 11 know int8 only by QuantizeLinear and DequantizeLinear, symmetric, with scales above zero;
its parser refuses other zero points, uint8 weights and int32 biases. uint8 activations with zero point 0 it
takes for int8, so that everything above 127 is cut off: that is refused here.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import TensorProto

from calkd_edge.onnx_model.lint.view import WEIGHTED, Looked, Seen, named, option, type_name

ACTIVATIONS = ("Relu", "Clip", "LeakyRelu", "HardSwish", "Sigmoid", "HardSigmoid", "Gelu", "Mish")
QUANTIZE_ANEW = "Quantize again, symmetric: calkd-edge's int8, or ActivationSymmetric=WeightSymmetric=True."
FLOAT_BIAS = "Leave the bias in float (ONNX Runtime's quantizer: QuantizeBias=False)."
BELOW_INT8 = (
    TensorProto.INT8,
    TensorProto.INT4,
    TensorProto.FLOAT8E4M3FN,
    getattr(TensorProto, "FLOAT4E2M1", TensorProto.INT8),
)


def zero_points(looked: Looked) -> Iterator[Seen]:
    """Zero points other than 0 are refused."""
    for node in looked.pairs():
        zero = looked.numbers(node.input[2]) if len(node.input) > 2 and node.input[2] else None
        if zero is not None and np.any(zero.astype(np.int64) != 0):
            said = f"the zero point is {int(zero.reshape(-1)[np.argmax(zero.reshape(-1) != 0)])}"
            yield Seen("error", named(node), f"{said}; TensorRT quantizes symmetrically only", QUANTIZE_ANEW)


def quantized_types(looked: Looked) -> Iterator[Seen]:
    """int8 alone; uint8 weights and int32 biases are refused, uint8 activations would be cut off at 127."""
    for node in looked.pairs():
        if node.op_type == "QuantizeLinear":
            zero = node.input[2] if len(node.input) > 2 else ""
            kind = looked.kind(zero) if zero else TensorProto.UINT8
        else:
            kind = looked.kind(node.input[0])
        if kind in BELOW_INT8 or kind == TensorProto.UNDEFINED:
            continue
        name = named(node)
        if kind == TensorProto.INT32:
            yield Seen(
                "error", name, "an int32 bias behind DequantizeLinear is refused by TensorRT", FLOAT_BIAS
            )
        elif kind == TensorProto.UINT8 and not looked.is_weight(node):
            message = "uint8 with zero point 0 is read as int8: TensorRT accepts it and cuts off above 127"
            yield Seen("error", name, message, QUANTIZE_ANEW)
        else:
            yield Seen("error", name, f"TensorRT does not quantize to {type_name(kind)}", QUANTIZE_ANEW)


def scales(looked: Looked) -> Iterator[Seen]:
    """Scales are stored, finite and above zero; a channel of zeros still needs one."""
    for node in looked.pairs():
        stored = looked.numbers(node.input[1])
        if stored is None:
            yield Seen("error", named(node), "the scale is computed, not stored", "Use static quantization.")
            continue
        values = stored.astype(np.float64)
        if not np.all(np.isfinite(values)) or np.any(values <= 0):
            bad = values.reshape(-1)[~(np.isfinite(values) & (values > 0)).reshape(-1)]
            message = (
                f"{len(bad)} of {values.size} scales are not above zero and finite (the first: {bad[0]})"
            )
            yield Seen("error", named(node), message, "Give channels of zeros a small scale, such as 2^-12.")


def scale_axes(looked: Looked) -> Iterator[Seen]:
    """One scale for an activation; for a weight one, or one for each output channel, along that axis."""
    for node in looked.pairs():
        stored = looked.numbers(node.input[1])
        if stored is None or stored.size == 1:
            continue
        if not looked.is_weight(node):
            message = f"{stored.size} scales for an activation; TensorRT takes one"
            yield Seen("error", named(node), message, "Quantize activations per tensor.")
            continue
        for reader in looked.view.consumers[node.output[0]]:
            if reader.op_type in WEIGHTED and len(reader.input) > 1 and reader.input[1] == node.output[0]:
                yield from _axis_of(looked, node, reader, stored.size)


def _axis_of(looked: Looked, node: onnx.NodeProto, reader: onnx.NodeProto, count: int) -> Iterator[Seen]:
    shape = looked.shape(node.input[0]) or []
    wanted = {"Conv": 0, "ConvTranspose": 1, "MatMul": len(shape) - 1}.get(reader.op_type)
    if wanted is None:
        wanted = 0 if option(reader, "transB", 0) else 1
    axis = option(node, "axis", 1)
    axis += len(shape) if axis < 0 else 0
    if shape and (axis != wanted or shape[wanted] != count):
        yield Seen(
            "error",
            named(node),
            f"{count} scales along axis {axis} of a weight {shape} of {reader.op_type} '{named(reader)}', "
            f"whose output channels are axis {wanted}",
            f"Quantize weights per output channel (axis={wanted}).",
        )


def loose_ends(looked: Looked) -> Iterator[Seen]:
    """What is quantized is dequantized before anything else reads it."""
    for node in looked.nodes:
        if node.op_type != "QuantizeLinear":
            continue
        readers = looked.view.consumers[node.output[0]]
        others = [one for one in readers if one.op_type != "DequantizeLinear"]
        if looked.view.is_output(node.output[0]) or others:
            who = f"read by {others[0].op_type} '{named(others[0])}'" if others else "an output of the file"
            message = f"the quantized value is {who}; TensorRT wants a DequantizeLinear there"
            yield Seen("error", named(node), message, "Put a DequantizeLinear with the same scale behind it.")


def half_quantized(looked: Looked) -> Iterator[Seen]:
    """A layer of which only the activation or only the weight is quantized runs in float unsaid."""
    for node in looked.nodes:
        if node.op_type not in WEIGHTED or len(node.input) < 2:
            continue
        found = [looked.dequantize_of(name) is not None for name in node.input[:2]]
        if found[0] != found[1]:
            which, other = ("activation", "weight") if found[0] else ("weight", "activation")
            yield Seen(
                "error",
                named(node),
                f"the {which} is quantized, the {other} is not: {node.op_type} runs in float without a word",
                f"Quantize its {other} too, or leave the whole layer in float.",
            )


def float_layers(looked: Looked) -> Iterator[Seen]:
    """Layers of a quantized file that stay in float: meant, or forgotten."""
    if not any(True for _ in looked.pairs()):
        return
    for node in looked.nodes:
        if node.op_type in WEIGHTED and not any(looked.dequantize_of(name) for name in node.input[:2]):
            yield Seen("note", named(node), f"{node.op_type} stays in float", "Nothing, if that is meant.")


def before_activation(looked: Looked) -> Iterator[Seen]:
    """Quantization between a layer and its activation function keeps TensorRT from fusing them."""
    for node in looked.nodes:
        if node.op_type != "QuantizeLinear":
            continue
        layer = looked.view.producer.get(node.input[0])
        if layer is None or layer.op_type not in WEIGHTED:
            continue
        behind = [
            reader
            for pair in looked.view.consumers[node.output[0]]
            for reader in looked.view.consumers[pair.output[0]]
        ]
        if behind and all(reader.op_type in ACTIVATIONS for reader in behind):
            message = f"stands between '{named(layer)}' and its {behind[0].op_type}, which are then not fused"
            yield Seen("warning", named(node), message, "Quantize behind the activation function.")


def twice(looked: Looked) -> Iterator[Seen]:
    """Quantized again, right behind a DequantizeLinear."""
    for node in looked.nodes:
        before = looked.view.producer.get(node.input[0]) if node.op_type == "QuantizeLinear" else None
        if before is not None and before.op_type == "DequantizeLinear":
            message = f"quantizes again what '{named(before)}' has just dequantized"
            yield Seen("warning", named(node), message, "Take one of the two pairs away.")


def weight_range(looked: Looked) -> Iterator[Seen]:
    """-128 has no counterpart at the other end: symmetric weights stay within [-127, 127]."""
    for node in looked.pairs():
        stored = looked.numbers(node.input[0]) if node.op_type == "DequantizeLinear" else None
        if stored is not None and stored.dtype == np.int8 and stored.size and int(stored.min()) == -128:
            count = int((stored == -128).sum())
            message = f"{count} weights are -128; kernels for symmetric weights expect [-127, 127]"
            yield Seen("warning", named(node), message, "Clip quantized weights to [-127, 127].")
