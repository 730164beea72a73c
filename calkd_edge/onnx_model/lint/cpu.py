"""Rules for ONNX Runtime's CPU kernels: what it cannot open, or makes slow or rounded without a word."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import onnx
from onnx import TensorProto

from calkd_edge.onnx_model.lint import quantized
from calkd_edge.onnx_model.lint.quantized import ACTIVATIONS
from calkd_edge.onnx_model.lint.view import WEIGHTED, Looked, Seen, named, option

DERIVE = "Take the file that calkd-edge derives for ONNX Runtime (*.int8.cpu.onnx)."
OWN_NUMBERS = "Store each int8 weight and its zero point once for each node that reads it."
SEVEN_BITS = 64
"""Products of weights up to here cannot saturate, and ONNX Runtime leaves such weights as they are."""

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
"""By operator: which inputs they are."""


def shared_numbers(looked: Looked) -> Iterator[Seen]:
    """Int8 weights with numbers in common, with which ONNX Runtime 1.32 opens no file for exact x86 products.

    It then makes weights beyond [-64, 64] uint8, each under a new name that it takes from the old one: also
    zero points, and also once for every reader of one DequantizeLinear. A name that comes up twice is fatal.
    """
    owner: dict[str, str] = {}
    fixed = _fixed(looked)
    for node in looked.nodes:
        made = _made_unsigned(looked, fixed, node)
        taken = next((name for name in made if name in owner), None)
        reads = _reads(looked, node) if node.op_type == "DequantizeLinear" and made else 1
        refused = "ONNX Runtime 1.32 refuses such a file on x86 with session.x64quantprecision=1"
        if taken is not None:
            message = f"shares '{taken}' with '{owner[taken]}', both for int8 weights: {refused}"
            yield Seen("error", named(node), message, OWN_NUMBERS)
        elif reads > 1:
            message = f"the int8 weight that it dequantizes is read {reads} times: {refused}"
            yield Seen("error", named(node), message, OWN_NUMBERS)
        owner.update(dict.fromkeys(made, named(node)))


def _made_unsigned(looked: Looked, fixed: Fixed, node: onnx.NodeProto) -> list[str]:
    """The stored weight and zero point of a node of which ONNX Runtime makes uint8; none where it does not.

    Source: ConvertS8WeightToU8 in its core/optimizer/qdq_transformer/s8_to_u8.cc, and what really opens.
    """
    weight_at, zero_at = _WEIGHT_AND_ZERO_POINT.get(node.op_type, (len(node.input), 0))
    given = [fixed.first_name.get(name, "") for name in node.input]
    if weight_at >= len(given) or not _exceeds_seven_bits(looked, fixed.source.get(given[weight_at], "")):
        return []
    if zero_at >= len(node.input) or not node.input[zero_at]:
        return [given[weight_at]]
    is_int8 = looked.kind(given[zero_at]) == TensorProto.INT8
    return [given[weight_at], given[zero_at]] if is_int8 else []


class Fixed(NamedTuple):
    """The values that are the same in every run: stored and no input, or computed from such.

    Attributes:
        first_name: by name, what it is called before the Identity nodes, which are removed.
        source: by name, the value whose numbers it holds in another shape.
    """

    first_name: dict[str, str]
    source: dict[str, str]


def _fixed(looked: Looked) -> Fixed:
    inputs = {value.name for value in looked.model.graph.input} if looked.model.ir_version >= 4 else set()
    first_name = {name: name for name in looked.constants if name not in inputs}
    source = dict(first_name)
    for node in looked.nodes:
        if not node.input or any(name and name not in first_name for name in node.input):
            continue
        for name in node.output:
            first_name[name] = first_name.get(node.input[0], name) if node.op_type == "Identity" else name
            source[name] = source.get(node.input[0], name) if node.op_type in MOVING else name
    return Fixed(first_name, source)


def _exceeds_seven_bits(looked: Looked, name: str) -> bool:
    """Whether a fixed int8 value, stored or quantized in the file, holds numbers beyond [-64, 64]."""
    stored, maker = looked.numbers(name), looked.view.producer.get(name)
    if stored is not None:
        return stored.dtype == np.int8 and bool(np.any(np.abs(stored.astype(np.int16)) > SEVEN_BITS))
    if maker is None or maker.op_type != "QuantizeLinear" or len(maker.input) < 3:
        return False
    values, scale, zero = (looked.numbers(given) for given in maker.input)
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


def _reads(looked: Looked, node: onnx.NodeProto) -> int:
    """How often what a node makes is read: by nodes, by what is inside them, and as an output."""
    readers = [(name, reader) for name in node.output for reader in looked.view.consumers[name]]
    by_nodes = sum(list(reader.input).count(name) or 1 for name, reader in readers)
    return by_nodes + sum(looked.view.is_output(name) for name in node.output)


def rounded_biases(looked: Looked) -> Iterator[Seen]:
    """Float biases of quantized layers, which ONNX Runtime rounds to int32 when it opens the file."""
    for node in looked.nodes:
        if node.op_type not in ("Conv", "Gemm") or len(node.input) < 3:
            continue
        quantized = all(looked.dequantize_of(name) is not None for name in node.input[:2])
        if quantized and node.input[2] in looked.constants:
            message = "its float bias becomes int32 when ONNX Runtime opens the file: results move a little"
            yield Seen(
                "warning", named(node), message, f"{DERIVE} Its int32 bias is in the file that is scored."
            )


def half_quantized(looked: Looked) -> Iterator[Seen]:
    """A layer of which only the activation or only the weight is quantized, unless its weight is stored int8.

    Such a weight, made float by Cast and Mul, is how the derived file has layers that must run in float.
    """
    meant = {named(node) for node in looked.nodes if _is_stored_int8(looked, node)}
    for seen in quantized.half_quantized(looked):
        if seen.node not in meant:
            yield seen


def _is_stored_int8(looked: Looked, node: onnx.NodeProto) -> bool:
    """Whether a layer's weight is Mul(Cast(stored int8), stored scale)."""
    scaled = looked.view.producer.get(node.input[1]) if len(node.input) > 1 else None
    cast = (
        looked.view.producer.get(scaled.input[0]) if scaled is not None and scaled.op_type == "Mul" else None
    )
    if scaled is None or cast is None or cast.op_type != "Cast" or scaled.input[1] not in looked.constants:
        return False
    stored = looked.view.initializers.get(cast.input[0])
    return stored is not None and stored.data_type == TensorProto.INT8


def not_fused(looked: Looked) -> Iterator[Seen]:
    """A layer whose result is quantized only behind the activation function runs in float."""
    for node in looked.nodes:
        if node.op_type not in ACTIVATIONS:
            continue
        layer = looked.view.producer.get(node.input[0])
        if layer is None or layer.op_type not in WEIGHTED or looked.dequantize_of(layer.input[0]) is None:
            continue
        readers = looked.view.consumers[node.output[0]]
        if any(reader.op_type == "QuantizeLinear" for reader in readers):
            message = f"runs in float: it is quantized only behind {node.op_type}"
            yield Seen("warning", named(layer), message, DERIVE)
