"""What ONNX Runtime's CPU kernels require of a file in integers; only int32 biases change a result."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper

from calkd_edge.onnx_model.graph import GraphView, read_inside
from calkd_edge.quantization.cpu.canonical import MONOTONE

OFFSET = 128
LEVELS = (0, 255)
INT32_LIMIT = 2.0**31 - 1


def around_128(view: GraphView) -> None:
    """Store activations as uint8 around 128 instead of int8 around 0: the same values, for other kernels."""
    zero = view.store("around_128", np.array(OFFSET, dtype=np.uint8))
    for node in view.graph.node:
        source = view.producer.get(node.input[0]) if node.op_type == "DequantizeLinear" else None
        is_pair = source is not None and source.op_type == "QuantizeLinear"
        if node.op_type == "QuantizeLinear" or is_pair:
            node.input[2] = zero


def quantize_before_activations(view: GraphView) -> None:
    """Quantize what a layer returns, and let its activation function work on the integers.

    This changes no result, since rounding is monotone. Where the integers end where the function does, or
    before, nothing is left for it to do.
    """
    nodes: list[onnx.NodeProto] = []
    moved: set[str] = set()
    for node in view.graph.node:
        after = _fusible_quantize(view, node)
        if after is None:
            if node.output[0] not in moved:
                nodes.append(node)
            continue
        raw, (scale, zero), result = node.input[0], after.input[1:], after.output[0]
        moved.add(result)
        limits = _integer_limits(view, node, after)
        integers = result if limits == LEVELS else view.unique(f"{raw}_quantized")
        nodes.append(helper.make_node("QuantizeLinear", [raw, scale, zero], [integers], f"quantize_{raw}"))
        if limits != LEVELS:
            ends = [
                view.store(f"{raw}_{name}", np.array(limit, dtype=np.uint8))
                for name, limit in zip(("least", "most"), limits, strict=True)
            ]
            nodes.append(helper.make_node("Clip", [integers, *ends], [result], f"clip_{raw}"))
    view.replace_nodes(nodes)


def _integer_limits(view: GraphView, node: onnx.NodeProto, quantize: onnx.NodeProto) -> tuple[int, int]:
    """The limits of a Relu or Clip as integers of that QuantizeLinear, as it rounds them."""
    ends = [0.0, np.inf]
    if node.op_type == "Clip":
        named = [*node.input[1:], "", ""][:2]
        ends = [
            float(view.array(name)) if name else end
            for name, end in zip(named, (-np.inf, np.inf), strict=True)
        ]
    step, zero = view.array(quantize.input[1]).astype(np.float32), int(view.array(quantize.input[2]))
    with np.errstate(over="ignore"):
        integers = np.clip(np.rint(np.array(ends, dtype=np.float32) / step) + zero, *LEVELS)
    return int(integers[0]), int(integers[1])


def _fusible_quantize(view: GraphView, node: onnx.NodeProto) -> onnx.NodeProto | None:
    """The QuantizeLinear after a monotone activation that is a layer's only reader, or None."""
    if node.op_type not in MONOTONE:
        return None
    before, after = view.producer.get(node.input[0]), view.consumers[node.output[0]]
    alone = (
        before is not None and before.op_type in ("Conv", "Add") and len(view.consumers[node.input[0]]) == 1
    )
    computed = any(name and name not in view.initializers for name in node.input[1:])
    if computed or view.is_output(node.input[0]) or view.is_output(node.output[0]):
        return None
    return after[0] if alone and len(after) == 1 and after[0].op_type == "QuantizeLinear" else None


def weights_of_float_layers(view: GraphView) -> None:
    """Where no integer kernel runs, dequantize weights by nodes that ONNX Runtime folds on opening."""
    nodes: list[onnx.NodeProto] = []
    replaced: set[str] = set()
    for node in view.graph.node:
        dequantize = view.producer.get(node.input[1]) if node.op_type == "Conv" else None
        if dequantize is None or dequantize.op_type != "DequantizeLinear" or _in_integers(view, node):
            nodes.append(node)
            continue
        stored, scale = view.initializers[dequantize.input[0]], view.array(dequantize.input[1])
        column = view.store(f"{stored.name}_column", scale.reshape(-1, *[1] * (len(stored.dims) - 1)))
        as_float, weight = view.unique(f"{stored.name}_cast"), view.unique(f"{stored.name}_weight")
        nodes += [
            helper.make_node("Cast", [stored.name], [as_float], as_float, to=TensorProto.FLOAT),
            helper.make_node("Mul", [as_float, column], [weight], weight),
        ]
        replaced.add(node.input[1])
        node.input[1] = weight
        nodes.append(node)
    replaced -= {name for node in nodes for name in (*node.input, *read_inside(node))}
    replaced -= {output.name for output in view.graph.output}
    view.replace_nodes([node for node in nodes if not replaced.intersection(node.output)])


def _in_integers(view: GraphView, node: onnx.NodeProto) -> bool:
    """Whether a QuantizeLinear is the only reader of a convolution."""
    after = view.consumers[node.output[0]]
    alone = len(after) == 1 and not view.is_output(node.output[0])
    return alone and after[0].op_type == "QuantizeLinear"


def integer_biases(view: GraphView) -> None:
    """Store each bias as int32 at the product of its activation's and its weight's scales."""
    nodes: list[onnx.NodeProto] = []
    for node in view.graph.node:
        has_bias = len(node.input) > 2 and node.input[2] in view.initializers
        dequantize = _bias_dequantize(view, node) if node.op_type == "Conv" and has_bias else None
        if dequantize is not None:
            nodes.append(dequantize)
            node.input[2] = dequantize.output[0]
        nodes.append(node)
        if node.op_type == "Gemm" and has_bias:
            nodes.append(_separate_bias(view, node))
    view.replace_nodes(nodes)


def fit_biases(view: GraphView) -> None:
    """Give channels that consist of their bias a coarser weight scale, at which it fits into 32 bits.

    ONNX Runtime rounds a float bias behind quantized weights to int32 as well, and one that does not fit
    ends at the other limit. Such a channel's weights are below 2^-31 of its bias, so nothing else is lost.
    """
    for node in view.graph.node:
        pairs = _dequantized_inputs(view, node)
        if not pairs or len(node.input) < 3 or node.input[2] not in view.initializers:
            continue
        bias, dequantize = np.abs(view.array(node.input[2]).astype(np.float64)), pairs[1]
        step = view.array(pairs[0].input[1]).astype(np.float64)
        scale = view.array(dequantize.input[1]).astype(np.float64)
        wider = np.maximum(scale, 1.001 * bias / (step * INT32_LIMIT))
        if (wider == scale).all() or view.only_reader(dequantize.output[0]) is None:
            continue
        weight = view.array(dequantize.input[0])
        column = (scale / wider).reshape(-1, *[1] * (weight.ndim - 1))
        stored = (np.rint(weight * column).astype(weight.dtype), wider.astype(np.float32))
        for position, values in enumerate(stored):
            dequantize.input[position] = view.store(dequantize.input[position], values)
        if scale.ndim == 0:
            zero = view.store(f"{dequantize.input[0]}_zero_point", np.zeros(len(wider), weight.dtype))
            del dequantize.input[2:], dequantize.attribute[:]
            dequantize.input.append(zero)
            dequantize.attribute.append(helper.make_attribute("axis", 0))


def _separate_bias(view: GraphView, node: onnx.NodeProto) -> onnx.NodeProto:
    """Move a layer's bias into an Add after it, in float; a calibration folded into a Gemm stays exact so."""
    output, bias = node.output[0], node.input[2]
    del node.input[2:]
    node.output[0] = view.unique(f"{output}_before_bias")
    return helper.make_node("Add", [node.output[0], bias], [output], f"bias_of_{node.name or output}")


def _bias_dequantize(view: GraphView, node: onnx.NodeProto) -> onnx.NodeProto | None:
    """The DequantizeLinear of the int32 bias; None where a bias does not fit into 32 bits and stays float."""
    sources = _dequantized_inputs(view, node)
    if not sources:
        return None
    bias = view.array(node.input[2]).astype(np.float64)
    scales = [view.array(pair.input[1]).astype(np.float32) for pair in sources]
    scale = np.ascontiguousarray(np.broadcast_to(scales[0] * scales[1], bias.shape))
    integers = np.rint(bias / scale.astype(np.float64))
    if np.abs(integers).max() > INT32_LIMIT:
        return None
    name = f"{node.name or node.output[0]}_bias"
    inputs = [
        view.store(f"{name}_int32", integers.astype(np.int32)),
        view.store(f"{name}_scale", scale),
        view.store(f"{name}_zero_point", np.zeros(len(bias), dtype=np.int32)),
    ]
    # After the stored name, which is unique even where nodes of another exporter share theirs.
    output = view.unique(inputs[0].replace("_int32", "_dequantized"))
    return helper.make_node("DequantizeLinear", inputs, [output], f"dequantize_{name}", axis=0)


def _dequantized_inputs(view: GraphView, node: onnx.NodeProto) -> list[onnx.NodeProto]:
    """The DequantizeLinear of a convolution's values and of its weight; empty unless both are there."""
    pairs = [view.producer.get(name) for name in node.input[:2]] if node.op_type == "Conv" else []
    sources = [pair for pair in pairs if pair is not None and pair.op_type == "DequantizeLinear"]
    return sources if len(sources) == 2 else []


def biases_behind(view: GraphView) -> None:
    """Move each convolution's bias into an Add after it.

    ONNX Runtime rounds a float16 bias behind quantized weights to int32 at the product of their scales,
    which is too small for float16.
    """
    nodes: list[onnx.NodeProto] = []
    for node in view.graph.node:
        nodes.append(node)
        sources = _dequantized_inputs(view, node)
        if sources and len(node.input) > 2 and node.input[2] in view.initializers:
            bias, spatial = view.array(node.input[2]), view.array(sources[1].input[0]).ndim - 2
            node.input[2] = view.store(f"{node.input[2]}_column", bias.reshape(-1, *[1] * spatial))
            nodes.append(_separate_bias(view, node))
    view.replace_nodes(nodes)


def unshare(view: GraphView) -> None:
    """Give every Q/DQ node separate initializers."""
    used: set[str] = set()
    for node in view.graph.node:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            continue
        for position, name in enumerate(node.input):
            if name in used and name in view.initializers:
                node.input[position] = view.store(name, view.array(name))
            used.add(name)
