"""The layer that makes a classifier's logits, and whether a calibration can be folded into it exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import onnx

from calkd_edge.onnx_model.graph import GraphView, attribute
from calkd_edge.records import Affine

REARRANGES = frozenset({"Identity", "Dropout", "Flatten", "Reshape", "Squeeze", "Unsqueeze"})
"""These move numbers without changing them: with as many channels as classes, a channel stays its class."""

AVERAGES = frozenset({"GlobalAveragePool", "ReduceMean"})
"""A scale and a bias of each channel pass unchanged through a mean over its pixels."""

POSITIVELY_HOMOGENEOUS = frozenset({"Relu", "LeakyRelu", "MaxPool", "GlobalMaxPool"})
"""f(s x) = s f(x) for s > 0, but a bias does not pass."""

LINEAR = frozenset({"Gemm", "MatMul", "Conv"})

Allowed = Literal["any", "positive_scale"]


@dataclass(frozen=True)
class LastLayer:
    """The layer into which a calibration can be folded.

    Attributes:
        node: a Gemm, MatMul or Conv, or the DequantizeLinear that returns integer logits as floats.
        weight: name of the stored float or int8 weight; None where `node` is a DequantizeLinear.
        dequantize: the DequantizeLinear of the weight, or None when the weight is float.
        added: an Add of stored numbers after the layer, or None.
        classes: C.
        allowed: positive_scale when a bias does not pass the nodes after the layer.
    """

    node: onnx.NodeProto
    weight: str | None
    dequantize: onnx.NodeProto | None
    added: onnx.NodeProto | None
    classes: int
    allowed: Allowed

    @property
    def rows_first(self) -> bool:
        """Whether the weight is stored with one row for each class."""
        if self.node.op_type == "Conv":
            return True
        return self.node.op_type == "Gemm" and attribute(self.node, "transB", 0) == 1

    @property
    def bias(self) -> str | None:
        """Name of the layer's stored bias; None if it has none."""
        has = self.node.op_type in ("Gemm", "Conv") and len(self.node.input) > 2 and self.node.input[2]
        return self.node.input[2] if has else None


def store_constants(model: onnx.ModelProto, logits: str) -> None:
    """Turn Constant nodes that feed the last layers into initializers: some exporters write weights so."""
    view = GraphView.of(model)
    value, needed = logits, set()
    while (node := view.producer.get(value)) is not None:
        needed.update(node.input)
        if node.op_type in LINEAR:
            makers = (view.producer.get(name) for name in node.input)
            needed.update(name for maker in makers if maker is not None for name in maker.input)
            break
        if node.op_type not in REARRANGES | AVERAGES | POSITIVELY_HOMOGENEOUS | {"Add", "DequantizeLinear"}:
            break
        makers = (view.producer.get(name) for name in node.input)
        # The path to the layer continues on the computed side of an Add.
        value = next((m.output[0] for m in makers if m is not None and m.op_type != "Constant"), "")
    kept = []
    for node in model.graph.node:
        tensor = attribute(node, "value", None) if node.op_type == "Constant" else None
        if isinstance(tensor, onnx.TensorProto) and node.output[0] in needed:
            stored = onnx.TensorProto()
            stored.CopyFrom(tensor)
            stored.name = node.output[0]
            model.graph.initializer.append(stored)
        else:
            kept.append(node)
    if len(kept) < len(model.graph.node):
        view.replace_nodes(kept)


def last_layer(view: GraphView, logits: str, classes: int) -> LastLayer | str:
    """The layer that makes the value `logits` [N, C], or the reason why nothing can be folded into it."""
    value, added = logits, None
    allowed: Allowed = "any"
    while True:
        node = view.producer.get(value)
        if node is None:
            return "no node makes the logits"
        if value != logits and (view.is_output(value) or len(view.consumers[value]) != 1):
            return f"'{value}', before the logits, has another reader"
        if node.domain not in ("", "ai.onnx"):
            return f"a {node.domain}.{node.op_type} makes the logits"
        if node.op_type in LINEAR:
            return _linear_layer(view, node, added, classes, allowed)
        if node.op_type == "DequantizeLinear":
            return _dequantize_layer(view, node, added, classes)
        if node.op_type == "Add":
            stored = [name for name in node.input if name in view.initializers]
            if added is not None or len(stored) != 1:
                return "an Add of computed values makes the logits"
            added = node
            value = next(name for name in node.input if name not in view.initializers)
            continue
        if added is not None:
            return f"a {node.op_type} stands between the last layer and its bias"
        if node.op_type == "ReduceMean" and not _over_image(view, node):
            return "a mean over other axes than the pixels makes the logits"
        if node.op_type in POSITIVELY_HOMOGENEOUS:
            allowed = "positive_scale"
        elif node.op_type not in REARRANGES | AVERAGES:
            return f"a {node.op_type} makes the logits"
        value = node.input[0]


def why_not(view: GraphView, layer: LastLayer, affine: Affine) -> str | None:
    """The reason why this calibration cannot be folded exactly into this layer; None if it can."""
    kind, has_bias = affine.kind(layer.classes), any(affine.bias)
    is_positive = kind != "matrix" and min(affine.scale) > 0
    if layer.allowed == "positive_scale" and (has_bias or not is_positive):
        return "a Relu or a maximum follows the last layer, and only positive scales pass it"
    if layer.weight is None:
        if kind != "temperature" or not is_positive:
            return "integer logits are returned with one scale, which can hold only a temperature"
        return None
    if kind == "matrix" and attribute(layer.node, "group", 1) != 1:
        return "the last convolution is grouped, and a matrix would mix its groups"
    if layer.dequantize is not None:
        if not is_positive:
            return "int8 weights can hold only positive scales, and no matrix"
        per_tensor = len(view.initializers[layer.dequantize.input[1]].dims) == 0
        if per_tensor and len(affine.scale) != 1:
            return "the int8 weight has one scale for all classes, which can hold only a temperature"
    if has_bias and layer.node.op_type == "MatMul" and layer.added is None:
        return "the last layer has no bias that could hold the calibration's"
    return None


def _linear_layer(
    view: GraphView, node: onnx.NodeProto, added: onnx.NodeProto | None, classes: int, allowed: Allowed
) -> LastLayer | str:
    """A Gemm, MatMul or Conv whose numbers are stored."""
    if attribute(node, "transA", 0) != 0:
        return "the last Gemm transposes its input"
    if len(node.input) > 2 and node.input[2] and node.input[2] not in view.initializers:
        return f"the bias of the last {node.op_type} is computed"
    weight, dequantize = node.input[1], None
    if weight not in view.initializers:
        dequantize = view.producer.get(weight)
        if dequantize is None or dequantize.op_type != "DequantizeLinear":
            return f"the weight of the last {node.op_type} is computed"
        if len(view.consumers[weight]) != 1:
            return "the last layer shares its weight's scales with another layer"
        if any(name not in view.initializers for name in dequantize.input if name):
            return "the scale of the last layer's int8 weight is computed"
        weight = dequantize.input[0]
    layer = LastLayer(node, weight, dequantize, added, classes, allowed)
    stored = view.initializers[weight]
    axis = 0 if layer.rows_first else len(stored.dims) - 1
    if len(stored.dims) < 2 or stored.dims[axis] != classes:
        return f"the last {node.op_type} does not have one output for each of the {classes} classes"
    spatial_axes = len(stored.dims) - 2 if node.op_type == "Conv" else 0
    if added is not None:
        addend = next(name for name in added.input if name in view.initializers)
        if not _is_bias(view.initializers[addend], classes, spatial_axes):
            return "the numbers added after the last layer are not a bias of each class"
    if layer.bias is not None and not _is_bias(view.initializers[layer.bias], classes, 0):
        return "the bias of the last layer is not one number for each class"
    if dequantize is not None:
        scale = view.initializers[dequantize.input[1]]
        if scale.data_type != onnx.TensorProto.FLOAT:
            return "the scales of the last layer's int8 weight are not float32"
        if len(scale.dims) > 0 and (
            list(scale.dims) != [classes] or attribute(dequantize, "axis", 1) % len(stored.dims) != axis  # type: ignore[operator]  # an int
        ):
            return "the scales of the last layer's int8 weight are not one for each class"
    elif stored.data_type != onnx.TensorProto.FLOAT:
        kind = onnx.TensorProto.DataType.Name(stored.data_type).lower()
        return f"the last layer's weight is stored in {kind}, which would round it"
    return layer


def _over_image(view: GraphView, node: onnx.NodeProto) -> bool:
    """Whether a mean runs over the pixels of [N, C, H, W] alone."""
    axes = reduced_axes(view, node)
    return axes is not None and bool(axes) and set(axes) <= {2, 3, -1, -2}


def reduced_axes(view: GraphView, node: onnx.NodeProto) -> list[int] | None:
    """The axes of a Reduce node, an attribute or a stored input; None if they are unknown."""
    axes = attribute(node, "axes", None)
    if axes is not None:
        return [int(axis) for axis in axes]  # type: ignore[attr-defined]  # a list of ints
    if len(node.input) > 1 and node.input[1] in view.initializers:
        return [int(axis) for axis in view.array(node.input[1]).reshape(-1)]
    return None


def _is_bias(stored: onnx.TensorProto, classes: int, spatial_axes: int) -> bool:
    """Whether a stored tensor holds one number, or one for each class along the axis of classes."""
    dims = list(stored.dims)
    if all(size == 1 for size in dims):
        return True
    others = [size for at, size in enumerate(dims) if at != len(dims) - 1 - spatial_axes]
    return (
        len(dims) > spatial_axes and dims[-1 - spatial_axes] == classes and all(size == 1 for size in others)
    )


def _dequantize_layer(
    view: GraphView, node: onnx.NodeProto, added: onnx.NodeProto | None, classes: int
) -> LastLayer | str:
    """The node that returns integer logits as floats."""
    if added is not None:
        return "numbers are added to the dequantized logits"
    scale = view.initializers.get(node.input[1])
    if scale is None or len(scale.dims) > 0 or scale.data_type != onnx.TensorProto.FLOAT:
        return "the scale of the returned logits is not one stored float32 number"
    return LastLayer(node, None, None, None, classes, "any")
