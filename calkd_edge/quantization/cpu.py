"""The int8 file for ONNX Runtime's CPU, derived from the canonical file after folding.

It differs in five ways. The output of a convolution is quantized before its activation function, which then
works on the integers: this changes no result, since rounding is monotone, and allows fusing the convolution.
Activations are uint8 around 128 instead of int8 around 0: the same values, which x86 kernels can fuse. No two
Q/DQ nodes share an initializer: ONNX Runtime 1.32 does not open a file in which two weights share one, if
configured for exact products on x86. Biases of convolutions that run in integers become int32, as the kernels
require; this rounds, and is the only difference that can change a result. A Gemm's bias becomes a separate
Add, since ONNX Runtime would round it too. A convolution that cannot run in integers, since its result is not
quantized before its other readers, gets its weight from a Cast and a Mul instead of a DequantizeLinear: the
same float32 numbers, which ONNX Runtime computes once when it opens the file and not in every run. TensorRT
refuses such a file.

All of this applies only to the form that calkd_edge.quantization.placement writes: a quantized file from
another exporter is run unchanged.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper

from calkd_edge.onnx_model.graph import GraphView, attribute, copy_of, read_inside

MONOTONE = ("Relu", "Clip")
OFFSET = 128
INT32_LIMIT = 2.0**31 - 1
OLDEST_OPSET = 13
"""Since this opset a Q or DQ has an axis, and a Clip reads its limits as inputs, also for uint8."""


def derive_for_cpu(model: onnx.ModelProto) -> onnx.ModelProto:
    """Derive a copy of a canonical int8 model for ONNX Runtime's CPU provider; never for TensorRT.

    Where the rest is float16, nothing is fused: such a file only loses its shared initializers.

    Raises:
        ValueError: the model is not in that form; see `is_canonical`.
    """
    if not is_canonical(model):
        raise ValueError("the model is not in the int8 form that insert_qdq writes: run it unchanged")
    derived = copy_of(model)
    view = GraphView.of(derived)
    if any(view.initializers[node.input[1]].data_type == TensorProto.FLOAT16 for node in _pairs(view)):
        _unshare(view)
        return derived
    _unsigned_activations(GraphView.of(derived))
    _quantize_before_activations(GraphView.of(derived))
    _weights_of_float_layers(GraphView.of(derived))
    _integer_biases(GraphView.of(derived))
    _unshare(GraphView.of(derived))
    onnx.checker.check_model(derived, full_check=True)
    return derived


def is_canonical(model: onnx.ModelProto) -> bool:
    """Whether a model has the int8 form that `derive_for_cpu` requires.

    Every QuantizeLinear makes int8 with a stored zero point 0 and one stored scale, and only
    DequantizeLinears of the same scale read it. Every other DequantizeLinear reads a stored int8 weight with
    zero point 0, with one scale or one for each index of its first axis. A Conv reads no other weight through
    a DequantizeLinear, and no stored activation. A Gemm's bias is not scaled.
    """
    view = GraphView.of(model)
    opset = max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0)
    pairs = _pairs(view)
    return (
        opset >= OLDEST_OPSET
        and model.ir_version >= 4  # before, every stored number had to be an input as well
        and any(node.op_type == "QuantizeLinear" for node in pairs)
        and all(_is_symmetric(view, node) for node in pairs)
        and all(
            _is_activation_pair(view, node) if _is_quantize(node) else _is_canonical_dequantize(view, node)
            for node in pairs
        )
        and all(_is_canonical_layer(view, node) for node in view.graph.node)
    )


def _is_symmetric(view: GraphView, node: onnx.NodeProto) -> bool:
    """Whether a Q or DQ is of the default domain, with a stored scale and stored int8 zero points of 0."""
    plain = node.domain in ("", "ai.onnx") and {item.name for item in node.attribute} <= {"axis"}
    if not plain or len(node.input) != 3 or any(name not in view.initializers for name in node.input[1:]):
        return False
    scale, zero = (view.initializers[name] for name in node.input[1:])
    is_float = scale.data_type in (TensorProto.FLOAT, TensorProto.FLOAT16)
    return is_float and zero.data_type == TensorProto.INT8 and not view.array(zero.name).any()


def _is_activation_pair(view: GraphView, node: onnx.NodeProto) -> bool:
    """Whether a QuantizeLinear has one scale and is read by DequantizeLinears of that scale alone."""
    readers = view.consumers[node.output[0]]
    is_scalar = not view.initializers[node.input[1]].dims and not view.initializers[node.input[2]].dims
    same_scale = all(
        reader.op_type == "DequantizeLinear"
        and view.array(reader.input[1]).tobytes() == view.array(node.input[1]).tobytes()
        for reader in readers
    )
    return is_scalar and bool(readers) and same_scale and not view.is_output(node.output[0])


def _is_canonical_dequantize(view: GraphView, node: onnx.NodeProto) -> bool:
    """Whether a DequantizeLinear reads a QuantizeLinear, or a stored weight scaled along its first axis."""
    source = view.producer.get(node.input[0])
    if source is not None:
        return _is_quantize(source)
    stored = view.initializers.get(node.input[0])
    if stored is None or stored.data_type != TensorProto.INT8 or not stored.dims:
        return False
    scales = list(view.initializers[node.input[1]].dims)
    return not scales or (scales == [stored.dims[0]] and attribute(node, "axis", 1) in (0, -len(stored.dims)))


def _is_canonical_layer(view: GraphView, node: onnx.NodeProto) -> bool:
    """Whether a Conv dequantizes only stored weights and computed activations; a Gemm adds a plain bias."""
    if node.op_type == "Gemm":
        return attribute(node, "beta", 1.0) == 1.0
    if node.op_type != "Conv":
        return True
    activation, weight = (view.producer.get(name) for name in node.input[:2])
    return all(
        maker is None
        or maker.op_type != "DequantizeLinear"
        or (maker.input[0] in view.initializers) == is_weight
        for maker, is_weight in ((activation, False), (weight, True))
    )


def _is_quantize(node: onnx.NodeProto) -> bool:
    return bool(node.op_type == "QuantizeLinear")


def _pairs(view: GraphView) -> list[onnx.NodeProto]:
    return [node for node in view.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]


def _unsigned_activations(view: GraphView) -> None:
    """Store activations as uint8 around 128 instead of int8 around 0: the same values, for other kernels."""
    zero = view.store("around_128", np.array(OFFSET, dtype=np.uint8))
    for node in view.graph.node:
        source = view.producer.get(node.input[0]) if node.op_type == "DequantizeLinear" else None
        is_pair = source is not None and source.op_type == "QuantizeLinear"
        if node.op_type == "QuantizeLinear" or is_pair:
            node.input[2] = zero


def _quantize_before_activations(view: GraphView) -> None:
    """Quantize what a convolution returns, and let its activation function work on the integers."""
    nodes: list[onnx.NodeProto] = []
    moved: dict[str, onnx.NodeProto] = {}
    for node in view.graph.node:
        after = _fusible_quantize(view, node)
        if after is None:
            if node.output[0] not in moved:
                nodes.append(node)
            continue
        raw, (scale, zero) = node.input[0], after.input[1:]
        moved[after.output[0]] = after
        integers = view.unique(f"{raw}_quantized")
        nodes.append(helper.make_node("QuantizeLinear", [raw, scale, zero], [integers], f"quantize_{raw}"))
        limits = [
            view.store(f"{raw}_{name}", np.array(limit, dtype=np.uint8))
            for name, limit in zip(("least", "most"), _integer_limits(view, node, scale), strict=True)
        ]
        clip = helper.make_node("Clip", [integers, *limits], [after.output[0]], f"clip_{raw}")
        nodes.append(clip)
    view.replace_nodes(nodes)


def _integer_limits(view: GraphView, node: onnx.NodeProto, scale: str) -> tuple[int, int]:
    """The limits of a Relu or Clip as integers of that scale, as QuantizeLinear rounds them."""
    ends = [0.0, np.inf]
    if node.op_type == "Clip":
        named = [*node.input[1:], "", ""][:2]
        ends = [
            float(view.array(name)) if name else end
            for name, end in zip(named, (-np.inf, np.inf), strict=True)
        ]
    step = view.array(scale).astype(np.float32)
    with np.errstate(over="ignore"):
        integers = np.clip(np.rint(np.array(ends, dtype=np.float32) / step), -128, 127) + OFFSET
    return int(integers[0]), int(integers[1])


def _fusible_quantize(view: GraphView, node: onnx.NodeProto) -> onnx.NodeProto | None:
    """The QuantizeLinear after a monotone activation that is a convolution's only reader, or None."""
    if node.op_type not in MONOTONE:
        return None
    before, after = view.producer.get(node.input[0]), view.consumers[node.output[0]]
    alone = before is not None and before.op_type == "Conv" and len(view.consumers[node.input[0]]) == 1
    computed = any(name and name not in view.initializers for name in node.input[1:])
    if computed or view.is_output(node.input[0]) or view.is_output(node.output[0]):
        return None
    return after[0] if alone and len(after) == 1 and after[0].op_type == "QuantizeLinear" else None


def _weights_of_float_layers(view: GraphView) -> None:
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


def _integer_biases(view: GraphView) -> None:
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


def _separate_bias(view: GraphView, node: onnx.NodeProto) -> onnx.NodeProto:
    """Move a Gemm's bias into an Add after it, in float, so that a folded calibration stays exact."""
    output, bias = node.output[0], node.input[2]
    del node.input[2:]
    node.output[0] = view.unique(f"{output}_before_bias")
    return helper.make_node("Add", [node.output[0], bias], [output], f"bias_of_{node.name or output}")


def _bias_dequantize(view: GraphView, node: onnx.NodeProto) -> onnx.NodeProto | None:
    """The DequantizeLinear of the int32 bias; None where a bias does not fit into 32 bits and stays float."""
    pairs = [view.producer.get(name) for name in node.input[:2]]
    sources = [pair for pair in pairs if pair is not None and pair.op_type == "DequantizeLinear"]
    if len(sources) != 2:
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


def _unshare(view: GraphView) -> None:
    """Give every Q/DQ node separate initializers."""
    used: set[str] = set()
    for node in view.graph.node:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            continue
        for position, name in enumerate(node.input):
            if name in used and name in view.initializers:
                node.input[position] = view.store(name, view.array(name))
            used.add(name)
