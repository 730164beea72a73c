"""Rules for ONNX Runtime's CPU kernels: what makes a file slow or rounded there without a word."""

from __future__ import annotations

from collections.abc import Iterator

import onnx
from onnx import TensorProto

from calkd_edge.lint import quantized
from calkd_edge.lint.looked import WEIGHTED, Looked, Seen, named
from calkd_edge.lint.quantized import ACTIVATIONS

DERIVE = "Take the file that calkd-edge derives for ONNX Runtime (*.int8.cpu.onnx)."


def shared_numbers(looked: Looked) -> Iterator[Seen]:
    """Q/DQ nodes that share a scale or zero point, which ONNX Runtime 1.32 cannot always open."""
    owner: dict[str, str] = {}
    for node in looked.pairs():
        for name in node.input[1:]:
            first = owner.setdefault(name, named(node))
            if name in looked.constants and first != named(node):
                message = (
                    f"shares '{name}' with '{first}': ONNX Runtime 1.32 refuses such a file on x86 with "
                    "session.x64quantprecision=1, without which its products saturate"
                )
                yield Seen("error", named(node), message, DERIVE)
                break


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
