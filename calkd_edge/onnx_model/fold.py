"""Folding a calibration into a file: exactly into the last layer, else as two nodes behind it.

Float: the last layer's weight and bias take scale and bias. Int8 weights with float output: the scale of that
layer's own weight dequantization and its float bias take them. Integer logits: the scale that returns them as
floats. Stored integers stay as they are, so this is exact. What is shared with another layer is copied first.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
import onnx
from onnx import helper

from calkd_edge.errors import StageFailed
from calkd_edge.onnx_model.ends import LEAST_PROBABILITY
from calkd_edge.onnx_model.graph import GraphView, attribute
from calkd_edge.onnx_model.last_layer import LastLayer, last_layer, store_constants, why_not
from calkd_edge.records import Affine, FloatArray

Fold = Literal["folded", "nodes_appended", "none"]


class Folded(NamedTuple):
    """How a calibration entered a file, and the reason where it is not folded."""

    how: Fold
    reason: str | None = None


def fold(model: onnx.ModelProto, affine: Affine, *, logits: str = "logits") -> Folded:
    """Make `model` return calibrated logits, in place; says how.

    Args:
        model: a classifier whose output `logits` feeds everything that depends on it.
        affine: the calibration; a matrix is appended for int8, folded for float.
        logits: name of the output.

    Raises:
        StageFailed: the model has no such output.
    """
    output = next((one for one in model.graph.output if one.name == logits), None)
    if output is None:
        raise StageFailed(f"the model has no output '{logits}'", remedy="Export it with calkd-edge.")
    kind = output.type.tensor_type
    half = kind.elem_type == onnx.TensorProto.FLOAT16
    classes = kind.shape.dim[-1].dim_value or len(affine.bias)
    return fold_at(model, affine, Place(logits, classes, half))


class Place(NamedTuple):
    """Where a file holds its logits.

    Attributes:
        value: the name of the value, an output or not.
        classes: C.
        half: whether it is float16.
        places: how many axes of length 1 stand behind the classes.
        probabilities: whether it holds probabilities that no softmax of the file made; they are calibrated by
            way of their logarithm.
    """

    value: str
    classes: int
    half: bool = False
    places: int = 0
    probabilities: bool = False


def fold_at(model: onnx.ModelProto, affine: Affine, place: Place) -> Folded:
    """`fold` into a file of any maker, whose logits may be no output; all that reads them is calibrated."""
    if affine.is_identity:
        return Folded("none", "there is nothing to fold: the calibration is the identity")
    model.ir_version = max(model.ir_version, 4)  # before, every stored number had to be an input as well
    store_constants(model, place.value)
    view = GraphView.of(model)
    if place.probabilities:
        reason: str | None = "the file returns probabilities and holds no logits of them"
    else:
        layer = last_layer(view, place.value, place.classes)
        reason = layer if isinstance(layer, str) else why_not(view, layer, affine)
    if reason is not None or place.probabilities or isinstance(layer, str):
        _append(view, affine, place)
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
    """The layer's own bias and what is added behind it take the scale; the last of them takes the bias."""
    shift = np.broadcast_to(np.asarray(affine.bias), (layer.classes,))
    if layer.added is not None:
        place = next(at for at, name in enumerate(layer.added.input) if name in view.initializers)
        old = view.array(layer.added.input[place]).astype(np.float64)
        shape = old.shape if old.size == layer.classes else _beside(view, layer, weight)
        new = _scaled(np.broadcast_to(old.reshape(-1), (layer.classes,)), affine) + shift
        layer.added.input[place] = view.store(
            "classifier_addend_calibrated", new.reshape(shape).astype(np.float32)
        )
    if layer.node.op_type == "MatMul":
        return
    before = np.zeros(layer.classes)
    if layer.bias is not None:
        before += view.array(layer.bias).astype(np.float64).reshape(-1) * _factor(layer, "beta")
    own = _scaled(before, affine) + (shift if layer.added is None else 0.0)
    if layer.node.op_type == "Gemm":
        # With int8 weights alpha stays where it is: it scales the product, which the scales already carry.
        kept = [one for one in layer.node.attribute if one.name not in _done(layer)]
        del layer.node.attribute[:]
        layer.node.attribute.extend(kept)
    del layer.node.input[2:]
    layer.node.input.append(view.store("classifier_bias_calibrated", own.astype(np.float32)))


def _done(layer: LastLayer) -> tuple[str, ...]:
    return ("beta",) if layer.dequantize is not None else ("alpha", "beta")


def _factor(layer: LastLayer, name: str) -> float:
    factor = attribute(layer.node, name, 1.0) if layer.node.op_type == "Gemm" else 1.0
    return float(factor)  # type: ignore[arg-type]  # alpha and beta are numbers


def _scaled(values: FloatArray, affine: Affine) -> FloatArray:
    """scale applied along the first axis of values [C, ...]."""
    if affine.kind(len(values)) == "matrix":
        mixed: FloatArray = affine.matrix(len(values)) @ values
        return mixed
    scale = np.broadcast_to(np.asarray(affine.scale, dtype=np.float64), (len(values),))
    scaled: FloatArray = values * scale.reshape(-1, *[1] * (values.ndim - 1))
    return scaled


def _beside(view: GraphView, layer: LastLayer, weight: str) -> tuple[int, ...]:
    """The shape of one number for each class where a single one was added."""
    places = len(view.initializers[weight].dims) - 2 if layer.node.op_type == "Conv" else 0
    return (layer.classes, *[1] * places)


def _append(view: GraphView, affine: Affine, place: Place) -> None:
    """Rename what makes the logits, and put the affine between it and everything that reads them."""
    raw = view.unique(f"{place.value}_uncalibrated")
    maker = view.producer[place.value]
    maker.output[list(maker.output).index(place.value)] = raw
    nodes: list[onnx.NodeProto] = []

    def then(kind: str, *stored: str, **attributes: Any) -> None:
        source = nodes[-1].output[0] if nodes else raw
        made = f"{raw}_{len(nodes) + 1}"
        name = f"{raw}_calibration_{len(nodes)}"
        nodes.append(helper.make_node(kind, [source, *stored], [made], name, **attributes))

    if place.half:  # a scaled half would be rounded once more
        then("Cast", to=onnx.TensorProto.FLOAT)
    if place.probabilities:
        then("Max", view.store("calibration_least", np.asarray(LEAST_PROBABILITY, dtype=np.float32)))
        then("Log")
    if len(affine.scale) > 1 and len(affine.scale) == place.classes**2:
        if place.places:
            raise StageFailed(
                "a matrix cannot be appended to logits with further axes",
                remedy="Take temperature or vector, or export the file with a Flatten at its end.",
            )
        matrix = np.asarray(affine.scale, dtype=np.float32).reshape(place.classes, place.classes).T
        then("MatMul", view.store("calibration_matrix", matrix))
    else:
        then("Mul", view.store("calibration_scale", _stored(affine.scale, place)))
    then("Add", view.store("calibration_bias", _stored(affine.bias, place)))
    if place.probabilities:
        then("Softmax", axis=1)
    if place.half:
        then("Cast", to=onnx.TensorProto.FLOAT16)
    nodes[-1].output[0] = place.value
    at = list(view.graph.node).index(maker) + 1
    for offset, node in enumerate(nodes):
        view.graph.node.insert(at + offset, node)


def _stored(values: tuple[float, ...], place: Place) -> np.ndarray:
    """As float32, along the axis of classes."""
    stored = np.asarray(values, dtype=np.float32)
    return stored.reshape(-1, *[1] * place.places) if place.places else stored
