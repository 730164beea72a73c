"""Whether a file has the int8 form that calkd_edge.quantization.placement writes.

Only such a file is changed for ONNX Runtime's CPU; a quantized file from another exporter is run unchanged.
"""

from __future__ import annotations

import onnx
from onnx import TensorProto

from calkd_edge.onnx_model.graph import GraphView, attribute

MONOTONE = ("Relu", "Clip")
OLDEST_OPSET = 13
"""Since this opset a Q or DQ has an axis, and a Clip reads its limits as inputs, also for uint8."""


def is_canonical(model: onnx.ModelProto) -> bool:
    """Whether a model has the int8 form that `derive_for_cpu` requires.

    Every QuantizeLinear makes int8 with a stored zero point 0 and one stored scale, and only
    DequantizeLinears of the same scale read it. Every other DequantizeLinear reads a stored int8 weight with
    zero point 0, with one scale or one for each index of its first axis. A Conv reads no other weight through
    a DequantizeLinear, and no stored activation. A Gemm's bias is not scaled.
    """
    view = GraphView.of(model)
    opset = max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0)
    nodes = pairs(view)
    return (
        opset >= OLDEST_OPSET
        and model.ir_version >= 4  # before, every stored number had to be an input as well
        and any(node.op_type == "QuantizeLinear" for node in nodes)
        and all(_is_symmetric(view, node) for node in nodes)
        and all(
            _is_activation_pair(view, node) if _is_quantize(node) else _is_canonical_dequantize(view, node)
            for node in nodes
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


def pairs(view: GraphView) -> list[onnx.NodeProto]:
    """All Q and DQ nodes."""
    return [node for node in view.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]


def activation_scales(view: GraphView) -> dict[str, float]:
    """By value that a canonical model quantizes, its scale."""
    return {node.input[0]: float(view.array(node.input[1])) for node in pairs(view) if _is_quantize(node)}
