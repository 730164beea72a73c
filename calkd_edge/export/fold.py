"""Folding a calibration into a file: exactly into the last linear layer, else as two nodes behind it.

Float: the last linear layer's weight and bias take scale and bias. Int8 with float output: the scale of that
layer's
own weight dequantization and its float bias take them; the stored integers stay as they are, so this is
exact, for
a temperature and for a vector of positive scales. A weight shared with another layer is copied first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx
from onnx import helper

from calkd_edge.errors import StageFailed
from calkd_edge.onnx_graph import GraphView, attribute
from calkd_edge.records import Affine, FloatArray

Fold = Literal["folded", "nodes_appended", "none"]


@dataclass(frozen=True)
class LastLinear:
    """The layer that makes the logits.

    Attributes:
        node: a Gemm with a stored bias or none.
        weight: name of the stored float weight, or of the stored int8 weight.
        dequantize: the weight's DequantizeLinear, or None when the weight is float.
        transposed: whether the weight is stored [C, F].
    """

    node: onnx.NodeProto
    weight: str
    dequantize: onnx.NodeProto | None
    transposed: bool


def last_linear(view: GraphView, logits: str) -> LastLinear | None:
    """The Gemm behind the output `logits`, or None when something else makes it."""
    node = view.producer.get(logits)
    if node is None or node.op_type != "Gemm":
        return None
    if len(node.input) > 2 and node.input[2] not in view.initializers:
        return None
    plain = attribute(node, "alpha", 1.0) == 1.0 and attribute(node, "beta", 1.0) == 1.0
    transposed = attribute(node, "transB", 0) == 1
    if not plain or attribute(node, "transA", 0) != 0:
        return None
    if node.input[1] in view.initializers:
        return LastLinear(node, node.input[1], None, transposed)
    dequantize = view.producer.get(node.input[1])
    if dequantize is None or dequantize.op_type != "DequantizeLinear" or not transposed:
        return None
    stored = all(name in view.initializers for name in dequantize.input)
    if not stored or len(view.consumers[dequantize.output[0]]) != 1:
        return None
    per_class = list(view.initializers[dequantize.input[1]].dims) == [
        view.initializers[dequantize.input[0]].dims[0]
    ]
    if not per_class or attribute(dequantize, "axis", 1) != 0:
        return None
    return LastLinear(node, dequantize.input[0], dequantize, transposed)


def fold(model: onnx.ModelProto, affine: Affine, *, logits: str = "logits") -> Fold:
    """Make `model` return calibrated logits, in place; says how.

    Args:
        model: a classifier whose output `logits` feeds everything that depends on it.
        affine: the calibration; a matrix is appended for int8, folded for float.
        logits: name of the output.

    Raises:
        StageFailed: the model has no such output.
    """
    view = GraphView.of(model)
    if not view.is_output(logits):
        raise StageFailed(f"the model has no output '{logits}'", remedy="Export it with calkd-edge.")
    if affine.is_identity:
        return "none"
    layer = last_linear(view, logits)
    if layer is None or not _is_exact(layer, affine, view):
        _append(view, affine, logits)
        return "nodes_appended"
    if layer.dequantize is None:
        _fold_float(view, layer, affine)
    else:
        _fold_int8(view, layer, layer.dequantize, affine)
    view.drop_unused()
    return "folded"


def _classes(layer: LastLinear, view: GraphView) -> int:
    return int(view.initializers[layer.weight].dims[0 if layer.transposed else 1])


def _is_exact(layer: LastLinear, affine: Affine, view: GraphView) -> bool:
    """Whether folding is exact: always for float weights in float32, for int8 only with positive scales."""
    weight = view.initializers[layer.weight]
    if layer.dequantize is None:
        return weight.data_type == onnx.TensorProto.FLOAT
    return len(affine.scale) in (1, _classes(layer, view)) and min(affine.scale) > 0


def _fold_float(view: GraphView, layer: LastLinear, affine: Affine) -> None:
    weight = view.array(layer.weight).astype(np.float64)
    rows = weight if layer.transposed else weight.T
    bias = _bias(view, layer)
    if len(affine.scale) == len(rows) ** 2 and len(rows) > 1:
        matrix = np.asarray(affine.scale).reshape(len(rows), len(rows))
        rows, bias = matrix @ rows, matrix @ bias
    else:
        scale = np.broadcast_to(np.asarray(affine.scale), (len(rows),))
        rows, bias = rows * scale[:, None], bias * scale
    folded = rows if layer.transposed else rows.T
    layer.node.input[1] = view.store("classifier_weight_calibrated", folded.astype(np.float32))
    _set_bias(view, layer, bias, affine)


def _fold_int8(view: GraphView, layer: LastLinear, dequantize: onnx.NodeProto, affine: Affine) -> None:
    bias = _bias(view, layer)
    factor = np.broadcast_to(np.asarray(affine.scale), bias.shape)
    scale = np.broadcast_to(view.array(dequantize.input[1]).astype(np.float64), bias.shape) * factor
    dequantize.input[1] = view.store("classifier_weight_scale_calibrated", scale.astype(np.float32))
    _set_bias(view, layer, bias * factor, affine)


def _bias(view: GraphView, layer: LastLinear) -> FloatArray:
    """The layer's bias [C], zeros where it has none; a Gemm may store it as [1], [C] or [1, C]."""
    bias = np.zeros(_classes(layer, view))
    if len(layer.node.input) > 2:
        bias += view.array(layer.node.input[2]).astype(np.float64).reshape(-1)
    return bias


def _set_bias(view: GraphView, layer: LastLinear, scaled: FloatArray, affine: Affine) -> None:
    name = view.store("classifier_bias_calibrated", (scaled + np.asarray(affine.bias)).astype(np.float32))
    del layer.node.input[2:]
    layer.node.input.append(name)


def _append(view: GraphView, affine: Affine, logits: str) -> None:
    """Rename what makes the logits, and put the affine between it and everything that reads them."""
    raw = f"{logits}_uncalibrated"
    maker = view.producer[logits]
    maker.output[list(maker.output).index(logits)] = raw
    bias = view.store("calibration_bias", np.asarray(affine.bias, dtype=np.float32))
    output = next(output for output in view.graph.output if output.name == logits)
    size = output.type.tensor_type.shape.dim[-1].dim_value or len(affine.bias)
    if len(affine.scale) > 1 and len(affine.scale) == size**2:
        matrix = np.asarray(affine.scale, dtype=np.float32).reshape(size, size).T
        nodes = [
            helper.make_node("MatMul", [raw, view.store("calibration_matrix", matrix)], [f"{raw}_scaled"])
        ]
    else:
        scale = view.store("calibration_scale", np.asarray(affine.scale, dtype=np.float32))
        nodes = [helper.make_node("Mul", [raw, scale], [f"{raw}_scaled"])]
    nodes.append(helper.make_node("Add", [f"{raw}_scaled", bias], [logits]))
    place = list(view.graph.node).index(maker) + 1
    for offset, node in enumerate(nodes):
        node.name = f"calibration_{offset}"
        view.graph.node.insert(place + offset, node)
