"""Hard-sigmoids between convolutions written as clips, which runtimes fuse into the convolution before.

Squeeze-and-excitation multiplies a value by clip(a z + b, 0, 1), where a convolution makes z. That is
a clip(z + b / a, 0, 1 / a): the addend joins the bias of that convolution, the factor the weights of the
convolution that reads the product. A separate HardSigmoid costs changes of memory layout in
OpenVINO, two operators in LiteRT, and in int8 a float operator between integers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx

from calkd_edge.onnx_model.graph import GraphView, copy_of, number_of
from calkd_edge.onnx_model.opset import opset_of
from calkd_edge.quantization.equalisation import has_unshared_weights

OLDEST_OPSET = 11
"""Since this opset a Clip reads its limits as inputs."""
LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Match:
    """A HardSigmoid between two convolutions.

    Attributes:
        before: makes the value that it reads.
        node: the HardSigmoid.
        after: reads the product of its result and another value.
        slope: a > 0.
        offset: b.
    """

    before: onnx.NodeProto
    node: onnx.NodeProto
    after: onnx.NodeProto
    slope: float
    offset: float


def hard_sigmoids_as_clips(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of a float32 model that computes the same within rounding, with Clip for such HardSigmoids.

    One stays as it is where another node reads its input, its result, the product or a weight that changes;
    all do where weights are float16 or the opset has no such Clip.
    """
    changed = copy_of(model)
    if opset_of(model) < OLDEST_OPSET:
        return changed
    view = GraphView.of(changed)
    for match in between_convolutions(view):
        _add_to_bias(view, match.before, match.offset / match.slope)
        weight = view.array(match.after.input[1]).astype(np.float64)
        view.overwrite(match.after.input[1], (weight * match.slope).astype(np.float32))
        ends = {"low": 0.0, "high": 1.0 / match.slope}
        name = match.node.output[0]
        limits = [view.store(f"{name}_{end}", np.array(value, np.float32)) for end, value in ends.items()]
        match.node.op_type = "Clip"
        match.node.input.extend(limits)
        del match.node.attribute[:]
    return changed


def between_convolutions(view: GraphView) -> list[Match]:
    """Every HardSigmoid that may be written as a clip."""
    matches = []
    for node in view.graph.node:
        if node.op_type != "HardSigmoid":
            continue
        slope, offset = number_of(node, "alpha", 0.2), number_of(node, "beta", 0.5)
        before, product = view.producer.get(node.input[0]), view.only_reader(node.output[0])
        if before is None or view.only_reader(node.input[0]) is None:
            continue
        if slope <= 0 or max(1.0, abs(offset)) / slope > LARGEST:
            continue
        if product is None or product.op_type != "Mul":
            continue
        after = view.only_reader(product.output[0])
        if after is not None and _is_layer(view, before) and _is_layer(view, after):
            matches.append(Match(before, node, after, slope, offset))
    return matches


def _is_layer(view: GraphView, node: onnx.NodeProto) -> bool:
    stored = node.op_type == "Conv" and has_unshared_weights(view, node)
    return stored and view.initializers[node.input[1]].data_type == onnx.TensorProto.FLOAT


def _add_to_bias(view: GraphView, node: onnx.NodeProto, addend: float) -> None:
    if len(node.input) > 2 and node.input[2]:
        view.overwrite(node.input[2], (view.array(node.input[2]) + addend).astype(np.float32))
        return
    outputs = view.initializers[node.input[1]].dims[0]
    bias = view.store(f"{node.input[1]}_bias", np.full(outputs, addend, np.float32))
    node.input[:] = [*node.input[:2], bias]
