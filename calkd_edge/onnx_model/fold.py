"""Folding a calibration into a file: exactly into the last layer, else as two nodes after it.

Float: into the weight and bias of the last layer. Int8 weights with float output: into the scale of the
weight's dequantization and the float bias. Integer logits: into the scale that returns them as floats. Stored
integers do not change, so this is exact. Numbers that another layer shares are copied first.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import onnx
from onnx import helper

from calkd_edge.errors import StageFailed
from calkd_edge.onnx_model.classifier_output import LEAST_PROBABILITY, ClassifierOutput
from calkd_edge.onnx_model.graph import GraphView, attribute
from calkd_edge.onnx_model.last_layer import LastLayer, last_layer, store_constants, why_not
from calkd_edge.records import Affine, FloatArray

Fold = Literal["folded", "nodes_appended", "none"]


class Folded(NamedTuple):
    """How a calibration entered a file, and the reason if it is not folded."""

    how: Fold
    reason: str | None = None


def fold(model: onnx.ModelProto, affine: Affine, *, logits: str = "logits") -> Folded:
    """Make `model` return calibrated logits, in place; returns how the map entered it.

    Args:
        model: a classifier whose output `logits` feeds everything that depends on it.
        affine: the calibration; a matrix is appended for int8, folded for float.
        logits: name of the output.

    Raises:
        StageFailed: the model has no output of that name.
    """
    output = next((value for value in model.graph.output if value.name == logits), None)
    if output is None:
        raise StageFailed(f"the model has no output '{logits}'", remedy="Export the model with calkd-edge.")
    kind = output.type.tensor_type
    half = kind.elem_type == onnx.TensorProto.FLOAT16
    classes = kind.shape.dim[-1].dim_value or len(affine.bias)
    return fold_at(model, affine, LogitsValue(logits, classes, half))


class LogitsValue(NamedTuple):
    """The value of a graph that holds the logits.

    Attributes:
        value: its name; the value may be an output or not.
        classes: C.
        half: whether it is float16.
        trailing_axes: number of axes of length 1 after the axis of classes.
        probabilities: whether it holds probabilities that the file computes without a softmax; their
            logarithm is calibrated.
    """

    value: str
    classes: int
    half: bool = False
    trailing_axes: int = 0
    probabilities: bool = False

    @classmethod
    def of(cls, output: ClassifierOutput) -> LogitsValue:
        """The value that holds the logits of a classifier from any exporter."""
        from_probabilities = output.kind == "probabilities"
        return cls(output.logits, output.classes, output.half, output.trailing_axes, from_probabilities)


def fold_at(model: onnx.ModelProto, affine: Affine, target: LogitsValue) -> Folded:
    """Fold into a file from any exporter, whose logits may not be an output; calibrates all their readers."""
    if affine.is_identity:
        return Folded("none", "there is nothing to fold: the calibration is the identity")
    model.ir_version = max(model.ir_version, 4)  # before, every stored number had to be an input as well
    store_constants(model, target.value)
    view = GraphView.of(model)
    if target.probabilities:
        reason: str | None = "the file returns probabilities and holds no logits of them"
    else:
        layer = last_layer(view, target.value, target.classes)
        reason = layer if isinstance(layer, str) else why_not(view, layer, affine)
    if reason is not None or target.probabilities or isinstance(layer, str):
        _append(view, affine, target)
        return Folded("nodes_appended", reason)
    if layer.weight is None:
        scale = view.array(layer.node.input[1]).astype(np.float64) * affine.scale[0]
        layer.node.input[1] = view.store("logits_scale_calibrated", scale.astype(np.float32))
    else:
        _fold_weight(view, layer, layer.weight, affine)
        _fold_bias(view, layer, layer.weight, affine)
    view.drop_unused()
    return Folded("folded")


def _fold_weight(view: GraphView, layer: LastLayer, weight: str, affine: Affine) -> None:
    if layer.dequantize is not None:
        stored = view.array(layer.dequantize.input[1])
        factor = np.asarray(affine.scale[0] if stored.ndim == 0 else affine.scale)
        scales = (stored.astype(np.float64) * factor).astype(np.float32)
        name = view.store("classifier_weight_scale_calibrated", scales)
        layer.dequantize.input[1] = name
        return
    values = view.array(weight).astype(np.float64)
    rows: FloatArray = values.reshape(layer.classes, -1) if layer.rows_first else values.T
    rows = _scaled(rows * _factor(layer, "alpha"), affine)
    folded = rows.reshape(values.shape) if layer.rows_first else rows.T
    layer.node.input[1] = view.store("classifier_weight_calibrated", folded.astype(np.float32))


def _fold_bias(view: GraphView, layer: LastLayer, weight: str, affine: Affine) -> None:
    """Scale the layer's bias and the numbers added after it; add the map's bias to the last of them."""
    shift = np.broadcast_to(np.asarray(affine.bias), (layer.classes,))
    if layer.added is not None:
        position = next(at for at, name in enumerate(layer.added.input) if name in view.initializers)
        old = view.array(layer.added.input[position]).astype(np.float64)
        shape = old.shape if old.size == layer.classes else _beside(view, layer, weight)
        new = _scaled(np.broadcast_to(old.reshape(-1), (layer.classes,)), affine) + shift
        layer.added.input[position] = view.store(
            "classifier_addend_calibrated", new.reshape(shape).astype(np.float32)
        )
    if layer.node.op_type == "MatMul":
        return
    before = np.zeros(layer.classes)
    if layer.bias is not None:
        before += view.array(layer.bias).astype(np.float64).reshape(-1) * _factor(layer, "beta")
    bias = _scaled(before, affine) + (shift if layer.added is None else 0.0)
    if layer.node.op_type == "Gemm":
        # With int8 weights alpha stays: it scales the product, whose scales already hold the map.
        kept = [item for item in layer.node.attribute if item.name not in _done(layer)]
        del layer.node.attribute[:]
        layer.node.attribute.extend(kept)
    is_elsewhere = layer.bias is None and layer.added is not None
    del layer.node.input[2:]
    if is_elsewhere:  # in the Add; with a bias of zeros ONNX Runtime would run an int8 Gemm in float
        return
    layer.node.input.append(view.store("classifier_bias_calibrated", bias.astype(np.float32)))


def _done(layer: LastLayer) -> tuple[str, ...]:
    return ("beta",) if layer.dequantize is not None else ("alpha", "beta")


def _factor(layer: LastLayer, name: str) -> float:
    factor = attribute(layer.node, name, 1.0) if layer.node.op_type == "Gemm" else 1.0
    return float(factor)  # type: ignore[arg-type]  # alpha and beta are numbers


def _scaled(values: FloatArray, affine: Affine) -> FloatArray:
    """The linear part of the map applied along the first axis of values [C, ...]."""
    if affine.kind(len(values)) == "matrix":
        mixed: FloatArray = affine.matrix(len(values)) @ values
        return mixed
    scale = np.broadcast_to(np.asarray(affine.scale, dtype=np.float64), (len(values),))
    scaled: FloatArray = values * scale.reshape(-1, *[1] * (values.ndim - 1))
    return scaled


def _beside(view: GraphView, layer: LastLayer, weight: str) -> tuple[int, ...]:
    """The shape of a number for each class where a single number was added."""
    spatial_axes = len(view.initializers[weight].dims) - 2 if layer.node.op_type == "Conv" else 0
    return (layer.classes, *[1] * spatial_axes)


def _append(view: GraphView, affine: Affine, target: LogitsValue) -> None:
    """Rename the uncalibrated logits, and put the map between them and everything that reads them."""
    raw = view.unique(f"{target.value}_uncalibrated")
    maker = view.producer[target.value]
    maker.output[list(maker.output).index(target.value)] = raw
    nodes: list[onnx.NodeProto] = []

    def append_node(kind: str, *stored: str, **attributes: int) -> None:
        source = nodes[-1].output[0] if nodes else raw
        result = f"{raw}_{len(nodes) + 1}"
        name = f"{raw}_calibration_{len(nodes)}"
        node = helper.make_node(kind, [source, *stored], [result], name)
        node.attribute.extend(helper.make_attribute(key, value) for key, value in attributes.items())
        nodes.append(node)

    if target.half:  # a scaled half would be rounded again
        append_node("Cast", to=onnx.TensorProto.FLOAT)
    if target.probabilities:
        append_node("Max", view.store("calibration_least", np.asarray(LEAST_PROBABILITY, dtype=np.float32)))
        append_node("Log")
    if affine.kind(target.classes) == "matrix":
        if target.trailing_axes:
            raise StageFailed(
                "a matrix cannot be appended to logits with trailing axes",
                remedy="Use temperature or vector, or export the file with a Flatten at its end.",
            )
        matrix = affine.matrix(target.classes).astype(np.float32).T
        append_node("MatMul", view.store("calibration_matrix", matrix))
    else:
        append_node("Mul", view.store("calibration_scale", _stored(affine.scale, target)))
    append_node("Add", view.store("calibration_bias", _stored(affine.bias, target)))
    if target.probabilities:
        append_node("Softmax", axis=1)
    if target.half:
        append_node("Cast", to=onnx.TensorProto.FLOAT16)
    nodes[-1].output[0] = target.value
    at = list(view.graph.node).index(maker) + 1
    for offset, node in enumerate(nodes):
        view.graph.node.insert(at + offset, node)


def _stored(values: tuple[float, ...], target: LogitsValue) -> np.ndarray:
    """The values as float32, along the axis of classes."""
    stored = np.asarray(values, dtype=np.float32)
    return stored.reshape(-1, *[1] * target.trailing_axes) if target.trailing_axes else stored
