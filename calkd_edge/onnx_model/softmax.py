"""Softmaxes in the forms that exporters write, and the nodes that may follow one."""

from __future__ import annotations

import math

import onnx

from calkd_edge.onnx_model.graph import GraphView, attribute
from calkd_edge.onnx_model.last_layer import REARRANGES, reduced_axes

MOVES = REARRANGES | {"Transpose"}
_SPREADS = MOVES | {"Expand", "Cast"}
AFTERWARDS = MOVES | {"Cast", "QuantizeLinear", "DequantizeLinear", "Clip"}
"""Operators that may follow a softmax and keep its result the same confidence."""

NEARLY = 1e-3
"""Probabilities this close to 0 or 1 may be clipped: exporters do so before a logarithm."""


def softmax_source(view: GraphView, value: str) -> str | None:
    """The value whose softmax `value` is, or None if it is not a softmax.

    Exporters subtract the largest number of a row before the exponential; this does not change the softmax,
    and the value before the subtraction is returned.
    """
    node = view.producer.get(value)
    if node is None or node.domain not in ("", "ai.onnx"):
        return None
    if node.op_type == "Softmax":
        return str(node.input[0])
    if node.op_type != "Div":
        return None
    power = view.producer.get(node.input[0])
    maker = _behind_spreading(view, node.input[1])
    if power is None or maker is None or power.op_type != "Exp" or maker.op_type != "ReduceSum":
        return None
    if maker.input[0] != power.output[0] or reduced_axes(view, maker) not in ([1], [-1]):
        return None
    shifted = view.producer.get(power.input[0])
    if shifted is not None and shifted.op_type == "Sub":
        of = _behind_spreading(view, shifted.input[1])
        if of is not None and of.op_type == "ReduceMax" and of.input[0] == shifted.input[0]:
            return str(shifted.input[0])
    return str(power.input[0])


def _behind_spreading(view: GraphView, value: str) -> onnx.NodeProto | None:
    """The node that computes one number for each row, before it is expanded over the classes."""
    while (node := view.producer.get(value)) is not None:
        if node.op_type in _SPREADS:
            value = node.input[0]
        elif node.op_type == "Max" and sum(name in view.initializers for name in node.input) == 1:
            value = next(name for name in node.input if name not in view.initializers)  # a lower bound
        else:
            return node
    return None


def behind(view: GraphView, value: str, passed: frozenset[str]) -> str:
    """The value from which `value` is made by nodes of these kinds alone; no Clip that cuts confidences."""
    while (node := view.producer.get(value)) is not None and node.op_type in passed:
        if node.op_type == "Clip" and cuts_confidences(view, node):
            return value
        value = node.input[0]
    return value


def cuts_confidences(view: GraphView, clip: onnx.NodeProto) -> bool:
    """Whether a Clip changes probabilities that are not nearly 0 or 1; computed bounds count as wide."""
    names = [*clip.input[1:3], "", ""]
    low = _bound(view, names[0], attribute(clip, "min", -math.inf))
    high = _bound(view, names[1], attribute(clip, "max", math.inf))
    return low > NEARLY or (low >= 0 and high < 1 - NEARLY)


def _bound(view: GraphView, name: str, otherwise: object) -> float:
    """A stored number; an attribute or a default otherwise."""
    stored = view.constant(name)
    return float(otherwise) if stored is None else float(stored.reshape(-1)[0])  # type: ignore[arg-type]
